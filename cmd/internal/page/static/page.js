// Keeps the parts of a page up to date: the server sends those that have changed, rendered, by
// the ids of the elements that hold them. What has the focus is left as it is.
"use strict"
if (document.body.hasAttribute("data-live") && window.EventSource) {
  const source = new EventSource(location.href)
  const note = document.getElementById("live")
  source.onopen = () => { if (note) note.hidden = false }
  source.onerror = () => { if (note) note.hidden = true }
  source.onmessage = (message) => {
    for (const [id, html] of Object.entries(JSON.parse(message.data))) {
      const part = document.getElementById(id)
      if (part && !part.contains(document.activeElement)) part.innerHTML = html
    }
  }
}
