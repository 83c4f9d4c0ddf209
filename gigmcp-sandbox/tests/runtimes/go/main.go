// The work of a typical server in Go. Prints one line a job; the last argument is the URL to fetch.
package main

import (
	"crypto/rand"
	"crypto/sha256"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
)

func must[T any](value T, err error) T {
	if err != nil {
		fmt.Println("failed:", err)
		os.Exit(1)
	}
	return value
}

func files(dir string) {
	source := must(os.Create(filepath.Join(dir, "a")))
	must(io.WriteString(source, strings.Repeat("x", 100_000)))
	must(0, source.Sync())
	must(source.Seek(0, io.SeekStart))
	// With both ends files, Go asks the kernel to copy.
	target := must(os.Create(filepath.Join(dir, "b")))
	copied := must(io.Copy(target, source))
	must(0, os.Rename(target.Name(), filepath.Join(dir, "c")))
	var names []string
	for _, entry := range must(os.ReadDir(dir)) {
		names = append(names, entry.Name())
	}
	fmt.Println("files", strings.Join(names, ","), copied)
}

func threads() {
	var all sync.WaitGroup
	results := make(chan int, 3)
	for n := 1; n <= 3; n++ {
		all.Add(1)
		go func(n int) {
			defer all.Done()
			runtime.LockOSThread()
			results <- n * n
		}(n)
	}
	all.Wait()
	fmt.Println("threads", <-results+<-results+<-results, runtime.NumCPU() > 0)
}

func children() {
	self := must(os.Executable())
	echo := exec.Command(self, "echo")
	echo.Stdin = strings.NewReader("through a child")
	said := must(echo.Output())
	stopped := exec.Command(self, "wait")
	output := must(stopped.StdoutPipe())
	must(0, stopped.Start())
	must(output.Read(make([]byte, 1)))
	must(0, stopped.Process.Signal(syscall.SIGTERM))
	_ = stopped.Wait()
	status := stopped.ProcessState.Sys().(syscall.WaitStatus)
	fmt.Println("children", string(said), status.Signal())
}

// Go copies from socket to socket, from file to socket and from socket to pipe with splice and sendfile.
func sockets(dir string) {
	listener := must(net.Listen("unix", filepath.Join(dir, "s")))
	received := make(chan string)
	go func() {
		connection := must(listener.Accept())
		received <- string(must(io.ReadAll(connection)))
	}()
	connection := must(net.Dial("unix", filepath.Join(dir, "s")))
	file := must(os.Open(filepath.Join(dir, "c")))
	sent := must(io.Copy(connection, file))
	must(0, connection.Close())
	fmt.Println("unix", sent, len(<-received))

	source := must(net.Listen("unix", filepath.Join(dir, "source")))
	sink := must(net.Listen("unix", filepath.Join(dir, "sink")))
	go func() {
		connection := must(source.Accept())
		must(io.WriteString(connection, "spliced"))
		must(0, connection.Close())
	}()
	go func() {
		connection := must(sink.Accept())
		received <- string(must(io.ReadAll(connection)))
	}()
	from, to := must(net.Dial("unix", source.Addr().String())), must(net.Dial("unix", sink.Addr().String()))
	must(io.Copy(to, from))
	must(0, to.Close())
	fmt.Println("splice", <-received)
}

func network(text string) {
	random := make([]byte, 1000)
	must(rand.Read(random))
	fmt.Println("hash", len(sha256.Sum256(random)))
	address := must(url.Parse(text))
	for _, found := range must(net.LookupIP(address.Hostname())) {
		if found.To4() != nil {
			fmt.Println("lookup", found)
		}
	}
	response := must(http.Get(text))
	fmt.Println("fetch", strings.TrimSpace(string(must(io.ReadAll(response.Body)))))
}

func main() {
	switch os.Args[1] {
	case "echo":
		must(io.Copy(os.Stdout, os.Stdin))
	case "wait":
		fmt.Print("r")
		select {}
	default:
		dir := must(os.MkdirTemp("", "work-"))
		files(dir)
		threads()
		children()
		sockets(dir)
		network(os.Args[1])
		must(0, os.RemoveAll(dir))
	}
}
