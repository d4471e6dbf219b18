//go:build !race

package pushrule

// raceDetector says that tests run under the race detector.
const raceDetector = false
