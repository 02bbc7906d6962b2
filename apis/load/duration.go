package load

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"time"
)

// durationForm matches what has the form of a duration, however long it is.
var durationForm = sync.OnceValue(func() *regexp.Regexp {
	return regexp.MustCompile(`^[-+]?(([0-9]+(\.[0-9]*)?|\.[0-9]+)(ns|us|µs|μs|ms|s|m|h))+$`)
})

// longerUnit matches a number of one of the units that durations do not have; so
// many of them are still worth a suggestion.
var longerUnit = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`(?i)^([0-9]{1,4})(d|days?|w|weeks?|y|years?)$`) })

// wordyUnit matches a number of a unit that is written out.
var wordyUnit = sync.OnceValue(func() *regexp.Regexp {
	return regexp.MustCompile(`(?i)^([0-9]{1,9})(sec|min|hr|second|minute|hour)s?$`)
})

// maxSuggested is the length of a text that suggestions repeat.
const maxSuggested = 16

// badDuration says what is wrong with a text that is no duration, and what was
// probably meant.
func badDuration(text string) (message, hint string) {
	const expected = `expected a duration such as "4m0s"`
	short := strings.Join(strings.Fields(text), "")
	if _, err := strconv.ParseFloat(text, 64); err == nil && len(text) <= maxSuggested {
		return "the duration has no unit", fmt.Sprintf("did you mean %q or %q?", text+"m", text+"s")
	}
	if longer := longerUnit().FindStringSubmatch(short); longer != nil {
		hours := map[byte]int{'d': 24, 'w': 7 * 24, 'y': 365 * 24}[strings.ToLower(longer[2])[0]]
		count, _ := strconv.Atoi(longer[1])
		return "a duration has no unit longer than hours", fmt.Sprintf(`did you mean "%dh"?`, count*hours)
	}
	if wordy := wordyUnit().FindStringSubmatch(short); wordy != nil {
		return "the units of a duration are h, m, s and ms", fmt.Sprintf("did you mean %q?", wordy[1]+strings.ToLower(wordy[2][:1]))
	}
	meant := func(text string) bool {
		_, err := time.ParseDuration(text)
		return err == nil && len(text) <= maxSuggested
	}
	switch {
	case text == "":
		return expected + ", got an empty string", ""
	case durationForm().MatchString(text):
		return "the duration is too long", "the longest one is 2562047h"
	case meant(short):
		return "a duration has no blanks", fmt.Sprintf("did you mean %q?", short)
	case meant(strings.ToLower(short)):
		return "the units of a duration are lower-case letters", fmt.Sprintf("did you mean %q?", strings.ToLower(short))
	}
	return expected, "the units are h, m, s and ms"
}
