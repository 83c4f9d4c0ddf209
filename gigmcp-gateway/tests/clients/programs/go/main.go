// Has the conversation of the tests with Go's standard library. It is static and knows nothing but its environment.
package main

import (
	"fmt"
	"io"
	"net/http"
	"os"
)

func get(url string) (string, error) {
	request, err := http.NewRequest("GET", url, nil)
	if err != nil {
		return "", err
	}
	request.Header.Set("Authorization", "Bearer "+os.Getenv("API_KEY"))
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		return "", err
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	return fmt.Sprintf("spoken %s %v %s", answer.Proto, answer.Header, body), err
}

func main() {
	first, err := get("https://api.example.com/echo")
	if err != nil {
		panic(err)
	}
	denied, err := get("https://evil.test/")
	fmt.Println("denied:", denied, err)
	last, err := get("https://api.example.com/hold")
	if err != nil {
		panic(err)
	}
	fmt.Printf("%s\n%s\n", first, last)
}
