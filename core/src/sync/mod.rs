//! Locks and the like for routines and threads.
