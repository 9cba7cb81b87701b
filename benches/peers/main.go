// The Go side of benches/peers/run: does one workload for about as long as asked, and prints how many
// nanoseconds one turn of it took; or serves HTTP. src/main.rs is its counterpart.
package main

import (
	"flag"
	"fmt"
	"net"
	"net/http"
	"os"
	"runtime"
	"sync"
	"time"
)

const (
	batch  = 1000
	warmUp = 20_000
)

// Each does that many turns.
var workloads = map[string]func(turns int){
	"yield":            yields,
	"spawn-join-chan":  spawnJoinChan,
	"spawn-join-wg":    spawnJoinWaitGroup,
	"spawn-batch-chan": spawnBatchChan,
	"spawn-batch-wg":   spawnBatchWaitGroup,
	"ping-pong":        pingPong,
}

func main() {
	seconds := flag.Float64("seconds", 1, "how long to measure")
	flag.Parse()
	name := flag.Arg(0)
	if name == "http" {
		serve()
	}
	workload, found := workloads[name]
	if !found {
		fmt.Fprintf(os.Stderr, "no workload is called %q\n", name)
		os.Exit(2)
	}
	fmt.Printf("%.2f\n", measure(workload, *seconds))
}

// measure returns nanoseconds per turn. The number of turns is chosen by a first, shorter run.
func measure(workload func(int), seconds float64) float64 {
	run := func(turns int) time.Duration {
		start := time.Now()
		workload(turns)
		return time.Since(start)
	}
	run(warmUp)
	first := max(run(warmUp), 1)
	turns := int(seconds / first.Seconds() * warmUp)
	turns = (turns + batch - 1) / batch * batch
	return run(turns).Seconds() * 1e9 / float64(turns)
}

func yields(turns int) {
	done := make(chan struct{})
	go func() {
		for range turns / 2 {
			runtime.Gosched()
		}
		done <- struct{}{}
	}()
	for range turns / 2 {
		runtime.Gosched()
	}
	<-done
}

func spawnJoinChan(turns int) {
	for turn := range turns {
		done := make(chan int)
		go func() { done <- turn }()
		check(<-done == turn)
	}
}

func spawnJoinWaitGroup(turns int) {
	for turn := range turns {
		var group sync.WaitGroup
		var result int
		group.Go(func() { result = turn })
		group.Wait()
		check(result == turn)
	}
}

func spawnBatchChan(turns int) {
	for range turns / batch {
		done := make(chan int)
		for number := range batch {
			go func() { done <- number }()
		}
		sum := 0
		for range batch {
			sum += <-done
		}
		check(sum == batch*(batch-1)/2)
	}
}

func spawnBatchWaitGroup(turns int) {
	results := make([]int, batch)
	for turn := range turns / batch {
		var group sync.WaitGroup
		for number := range batch {
			group.Go(func() { results[number] = turn + number })
		}
		group.Wait()
		for number, result := range results {
			check(result == turn+number)
		}
	}
}

func pingPong(turns int) {
	ping, pong := make(chan int), make(chan int)
	go func() {
		for number := range ping {
			pong <- number + 1
		}
		close(pong)
	}()
	for turn := range turns {
		ping <- turn
		check(<-pong == turn+1)
	}
	close(ping)
	<-pong
}

func check(right bool) {
	if !right {
		panic("a wrong result")
	}
}

// serve answers what examples/http answers, and prints where, until it is killed.
func serve() {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	hello := []byte("Hello, World!")
	http.HandleFunc("/plaintext", func(answer http.ResponseWriter, _ *http.Request) {
		answer.Header().Set("Content-Type", "text/plain")
		answer.Write(hello)
	})
	fmt.Printf("listening on http://%s\n", listener.Addr())
	fmt.Fprintln(os.Stderr, http.Serve(listener, nil))
	os.Exit(1)
}
