// The service worker runs whether the page is open or not. The browser has decrypted what it gets.
addEventListener("install", () => skipWaiting())
addEventListener("activate", (event) => event.waitUntil(clients.claim()))
addEventListener("push", (event) => event.waitUntil(pushed(event.data.json())))

// The page gets what was pushed once it is shown.
async function pushed(data) {
  if (!data.ack_token) await show(data)
  for (const page of await clients.matchAll()) page.postMessage(data)
}

async function show(data) {
  const unread = data.counts?.unread
  await registration.showNotification(data.room_name ?? data.sender_display_name ?? "Matrix", {
    body: data.content?.body ?? "A message", tag: data.room_id, data,
    silent: !data.devices?.[0]?.tweaks?.sound,
  })
  if (unread !== undefined) await navigator.setAppBadge?.(unread)
}
