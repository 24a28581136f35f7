// Makes the dev server of Vite pass upgrades of /live on to a WebSocket server on port 8080.
// Run: npx vite --config samples/frameworks/vite.config.ts (with a server on port 8080)
import { defineConfig } from 'vite'

export default defineConfig({
  server: { proxy: { '/live': { target: 'ws://localhost:8080', ws: true } } },
})
