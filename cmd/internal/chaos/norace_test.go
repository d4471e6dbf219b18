//go:build !race

package chaos

// raceDetector says that tests run under the race detector.
const raceDetector = false
