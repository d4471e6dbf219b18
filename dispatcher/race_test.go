//go:build race

package dispatcher

// raceDetector says that tests run under the race detector.
const raceDetector = true
