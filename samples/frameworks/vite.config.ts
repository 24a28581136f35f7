// Makes the dev server of Vite pass /live, the login and its tokens on to a server on port 8080.
// Run: npx vite --config samples/frameworks/vite.config.ts (with a server on port 8080)
import { defineConfig } from 'vite'

export default defineConfig({
  server: {
    proxy: {
      '/live': { target: 'ws://localhost:8080', ws: true }, // an object: a string changes `Host`
      '/login': 'http://localhost:8080',
      '/token': 'http://localhost:8080',
    },
  },
})
