//go:build !race

package chaos

// raceDetector reports whether tests run under the race detector.
const raceDetector = false
