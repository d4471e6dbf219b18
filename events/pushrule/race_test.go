//go:build race

package pushrule

// raceDetector reports whether tests run under the race detector.
const raceDetector = true
