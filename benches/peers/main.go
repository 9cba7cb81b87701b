// The Go side of benches/peers/run: does one workload for about as long as asked, and prints how many
// nanoseconds one turn of it took; or serves HTTP. src/main.rs is its counterpart.
package main

import (
	"bytes"
	"flag"
	"fmt"
	"net"
	"net/http"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

const (
	batch     = 1000
	pairs     = 100
	capacity  = 128
	producers = 4
	burst     = 100_000
	rivals    = 8
	crowd     = 200
	readers   = 256
	block     = 4096
	blocks    = 16_384
	primes    = 1500
	lastPrime = 12_553
	leaves    = 1_000_000
	fanOut    = 10
	heavy     = 64
	rounds    = 10_000
	limit     = time.Second
	sleepers  = 100_000
	// Divides by pairs, producers, rivals and channels to select from.
	step = 3200
	// The share of the time that the first run takes, at least.
	firstShare = 0.1
)

// Does that many turns, a multiple of step.
type workload struct {
	step int
	run  func(turns int)
}

// src/workload.rs says what they do, and why the constants are what they are.
var workloads = map[string]workload{
	"yield":            {step, yields},
	"spawn-join-chan":  {step, spawnJoinChan},
	"spawn-join-wg":    {step, spawnJoinWaitGroup},
	"spawn-batch-chan": {batch, spawnBatchChan},
	"spawn-batch-wg":   {batch, spawnBatchWaitGroup},
	"ping-pong":        {step, pingPong},
	"ping-pongs":       {step, pingPongs},
	"spsc":             {step, spsc},
	"mpmc":             {step, mpmc},
	"mpsc":             {burst, mpsc},
	"select4":          {step, select4},
	"select32":         {step, select32},
	"mutex":            {step, func(turns int) { mutex(turns, rivals) }},
	"mutex-of-many":    {step, func(turns int) { mutex(turns, crowd) }},
	"files":            {readers * 16, files},
	"sieve":            {1, sieve},
	"skynet":           {leaves, skynet},
	"timer-churn":      {step, timerChurn},
	"timer-churn-kept": {step, timerChurnKept},
	"cpu-even":         {1, func(turns int) { batches(turns, even, 1) }},
	"cpu-uneven":       {1, func(turns int) { batches(turns, uneven, 1) }},
	"cpu-one-worker":   {1, func(turns int) { batches(turns, even, runtime.GOMAXPROCS(0)) }},
}

var crowds = map[string]int{"parked100k": 100_000, "parked1m": 1_000_000}

func main() {
	seconds := flag.Float64("seconds", 1, "how long to measure")
	flag.Parse()
	name := flag.Arg(0)
	if name == "http" {
		serve()
	}
	if count, found := crowds[name]; found {
		parked(count)
		return
	}
	if name == "sleeps" {
		lateness()
		return
	}
	workload, found := workloads[name]
	if !found {
		fmt.Fprintf(os.Stderr, "no workload is called %q\n", name)
		os.Exit(2)
	}
	if name == "files" {
		cachedFile()
	}
	fmt.Printf("ns=%.2f\n", workload.measure(*seconds))
}

// measure returns nanoseconds per turn. The number of turns is chosen by a first, shorter run.
func (workload workload) measure(seconds float64) float64 {
	run := func(turns int) float64 {
		start := time.Now()
		workload.run(turns)
		return max(time.Since(start), 1).Seconds()
	}
	turns := workload.step
	first := run(turns)
	for first < seconds*firstShare {
		turns *= 2
		first = run(turns)
	}
	steps := int(float64(turns) / float64(workload.step) * seconds / first)
	turns = workload.step * max(steps, 1)
	return run(turns) * 1e9 / float64(turns)
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

func pingPongs(turns int) {
	var group sync.WaitGroup
	for range pairs {
		group.Go(func() { pingPong(turns / pairs) })
	}
	group.Wait()
}

func spsc(turns int) {
	numbers := make(chan int, capacity)
	go produce(numbers, turns)
	for turn := range turns {
		check(<-numbers == turn)
	}
}

func mpmc(turns int) {
	share := turns / producers
	numbers, sums := make(chan int, capacity), make(chan int)
	for range producers {
		go func() {
			sum := 0
			for number := range numbers {
				sum += number
			}
			sums <- sum
		}()
	}
	var group sync.WaitGroup
	for range producers {
		group.Go(func() { produce(numbers, share) })
	}
	group.Wait()
	close(numbers)
	sum := 0
	for range producers {
		sum += <-sums
	}
	check(sum == producers*(share*(share-1)/2))
}

// Go has no unbounded channel: this one has room for all that is sent.
func mpsc(turns int) {
	const share = burst / producers
	for range turns / burst {
		numbers := make(chan int, burst)
		for range producers {
			go produce(numbers, share)
		}
		sum := 0
		for range burst {
			sum += <-numbers
		}
		check(sum == producers*(share*(share-1)/2))
	}
}

func produce(numbers chan<- int, turns int) {
	for turn := range turns {
		numbers <- turn
	}
}

func select4(turns int) {
	channels := feed(4, turns)
	sum := 0
	for range turns {
		var number int
		select {
		case number = <-channels[0]:
		case number = <-channels[1]:
		case number = <-channels[2]:
		case number = <-channels[3]:
		}
		sum += number
	}
	checkSelected(sum, 4, turns)
}

func select32(turns int) {
	channels := feed(32, turns)
	sum := 0
	for range turns {
		var number int
		select {
		case number = <-channels[0]:
		case number = <-channels[1]:
		case number = <-channels[2]:
		case number = <-channels[3]:
		case number = <-channels[4]:
		case number = <-channels[5]:
		case number = <-channels[6]:
		case number = <-channels[7]:
		case number = <-channels[8]:
		case number = <-channels[9]:
		case number = <-channels[10]:
		case number = <-channels[11]:
		case number = <-channels[12]:
		case number = <-channels[13]:
		case number = <-channels[14]:
		case number = <-channels[15]:
		case number = <-channels[16]:
		case number = <-channels[17]:
		case number = <-channels[18]:
		case number = <-channels[19]:
		case number = <-channels[20]:
		case number = <-channels[21]:
		case number = <-channels[22]:
		case number = <-channels[23]:
		case number = <-channels[24]:
		case number = <-channels[25]:
		case number = <-channels[26]:
		case number = <-channels[27]:
		case number = <-channels[28]:
		case number = <-channels[29]:
		case number = <-channels[30]:
		case number = <-channels[31]:
		}
		sum += number
	}
	checkSelected(sum, 32, turns)
}

// feed makes channels, and a producer for each.
func feed(count, turns int) []chan int {
	channels := make([]chan int, count)
	for index := range channels {
		channels[index] = make(chan int, capacity)
		go produce(channels[index], turns/count)
	}
	return channels
}

func checkSelected(sum, count, turns int) {
	share := turns / count
	check(sum == count*(share*(share-1)/2))
}

func mutex(turns, rivals int) {
	var lock sync.Mutex
	var group sync.WaitGroup
	count := 0
	for range rivals {
		group.Go(func() {
			for range turns / rivals {
				lock.Lock()
				count++
				lock.Unlock()
			}
		})
	}
	group.Wait()
	check(count == turns)
}

// A file without a name, which goes when the process does, and is made before anything is measured.
var cachedFile = sync.OnceValue(func() *os.File {
	file, err := os.CreateTemp("", "rust-routines-")
	must(err)
	must(os.Remove(file.Name()))
	for number := range blocks {
		_, err := file.Write(bytes.Repeat([]byte{byte(number % 251)}, block))
		must(err)
	}
	return file
})

func files(turns int) {
	file := cachedFile()
	var group sync.WaitGroup
	for reader := range readers {
		group.Go(func() {
			buffer := make([]byte, block)
			for turn := range turns / readers {
				number := (reader*61 + turn*6_151) % blocks
				_, err := file.ReadAt(buffer, int64(number)*block)
				must(err)
				check(buffer[0] == byte(number%251))
			}
		})
	}
	group.Wait()
}

func must(err error) {
	if err != nil {
		panic(err)
	}
}

func sieve(turns int) {
	for range turns {
		numbers := make(chan int)
		go generate(numbers)
		prime := 0
		for range primes {
			prime = <-numbers
			rest := make(chan int)
			go filter(numbers, rest, prime)
			numbers = rest
		}
		check(prime == lastPrime)
		_, more := <-numbers
		check(!more)
	}
}

func generate(numbers chan<- int) {
	for number := 2; number <= lastPrime; number++ {
		numbers <- number
	}
	close(numbers)
}

func filter(unfiltered <-chan int, rest chan<- int, prime int) {
	for number := range unfiltered {
		if number%prime != 0 {
			rest <- number
		}
	}
	close(rest)
}

func skynet(turns int) {
	for range turns / leaves {
		result := make(chan int, 1)
		node(result, 0, leaves)
		check(<-result == leaves*(leaves-1)/2)
	}
}

// node sends the sum of the numbers of its leaves.
func node(parent chan<- int, first, size int) {
	if size == 1 {
		parent <- first
		return
	}
	sums := make(chan int, fanOut)
	share := size / fanOut
	for child := range fanOut {
		go node(sums, first+child*share, share)
	}
	sum := 0
	for range fanOut {
		sum += <-sums
	}
	parent <- sum
}

// Each receive sets a timer and stops it, as the answer comes in time.
func timerChurn(turns int) {
	ping, pong := make(chan int, 1), make(chan int, 1)
	go answer(ping, pong)
	for turn := range turns {
		ping <- turn
		select {
		case number := <-pong:
			check(number == turn+1)
		case <-time.After(limit):
			check(false)
		}
	}
	close(ping)
}

// The same with one timer, as one would write it for speed.
func timerChurnKept(turns int) {
	ping, pong := make(chan int, 1), make(chan int, 1)
	go answer(ping, pong)
	timer := time.NewTimer(limit)
	for turn := range turns {
		ping <- turn
		timer.Reset(limit)
		select {
		case number := <-pong:
			timer.Stop()
			check(number == turn+1)
		case <-timer.C:
			check(false)
		}
	}
	close(ping)
}

func answer(ping <-chan int, pong chan<- int) {
	for number := range ping {
		pong <- number + 1
	}
}

func even(int) int          { return rounds * (heavy + 1) / 2 }
func uneven(number int) int { return rounds * (number + 1) }

// compute does rounds of Marsaglia's xorshift. Its result is never 0.
func compute(rounds int) uint64 {
	number := seed
	for range rounds {
		number ^= number << 13
		number ^= number >> 7
		number ^= number << 17
	}
	return number
}

var seed uint64 = 88_172_645_463_325_252

// batches waits on one processor of so many: the others are busy until all do.
func batches(turns int, rounds func(int) int, processors int) {
	for range turns {
		enough := busyOthers(processors - 1)
		var arrived, finished sync.WaitGroup
		arrived.Add(heavy)
		starts, results := make([]chan struct{}, heavy), make([]uint64, heavy)
		for number := range heavy {
			start := make(chan struct{}, 1)
			starts[number] = start
			finished.Go(func() {
				arrived.Done()
				<-start
				results[number] = compute(rounds(number))
			})
		}
		arrived.Wait()
		enough.Store(true)
		for _, start := range starts {
			start <- struct{}{}
		}
		finished.Wait()
		for _, result := range results {
			check(result != 0)
		}
	}
}

// busyOthers keeps so many processors busy until it is told that it is enough.
func busyOthers(count int) *atomic.Bool {
	var enough atomic.Bool
	var busy atomic.Int32
	for number := range int32(count) {
		go func() {
			busy.Add(1)
			for !enough.Load() {
			}
		}()
		for busy.Load() <= number {
		}
	}
	return &enough
}

// lateness prints quantiles of how late sleepers woke: of the second time, when all memory is there.
func lateness() {
	sleeps()
	late := sleeps()
	slices.Sort(late)
	quantile := func(share float64) float64 {
		return late[int(share*sleepers)].Seconds() * 1e6
	}
	fmt.Printf("µs p50=%.2f\nµs p99=%.2f\n", quantile(0.5), quantile(0.99))
}

func sleeps() []time.Duration {
	late := make([]time.Duration, sleepers)
	var group sync.WaitGroup
	for number := range sleepers {
		nap := time.Duration(number*7_919%1000+1) * time.Millisecond
		group.Go(func() {
			start := time.Now()
			time.Sleep(nap)
			late[number] = time.Since(start) - nap
			check(late[number] >= 0)
		})
	}
	group.Wait()
	return late
}

// parked prints what a crowd that waits for the end of one channel weighs, and what making and ending it takes.
func parked(count int) {
	before := resident()
	start := time.Now()
	end := make(chan struct{})
	var arrived, finished sync.WaitGroup
	arrived.Add(count)
	for range count {
		finished.Go(func() {
			arrived.Done()
			<-end
		})
	}
	arrived.Wait()
	parking := time.Since(start)
	grown := resident() - before
	start = time.Now()
	close(end)
	finished.Wait()
	waking := time.Since(start)
	fmt.Printf("B each=%.2f\n", float64(grown)/float64(count))
	fmt.Printf("ns to spawn and park each=%.2f\n", float64(parking.Nanoseconds())/float64(count))
	fmt.Printf("ns to wake and finish each=%.2f\n", float64(waking.Nanoseconds())/float64(count))
}

// resident returns how many bytes of memory this process occupies.
func resident() int {
	status, err := os.ReadFile("/proc/self/status")
	must(err)
	_, line, _ := strings.Cut(string(status), "VmRSS:")
	var kilobytes int
	_, err = fmt.Sscan(line, &kilobytes)
	must(err)
	return kilobytes * 1024
}

func check(right bool) {
	if !right {
		panic("a wrong result")
	}
}

// serve answers what src/http.rs answers, and prints where, until it is killed.
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
