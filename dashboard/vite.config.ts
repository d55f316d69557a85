import { cpSync } from "node:fs";
import { resolve } from "node:path";
import { defineConfig, type Plugin } from "vite";

const built = resolve(import.meta.dirname, "../service/dashboard/built");

/** The interactive reference of the HTTP interface, kept with the rest so that no page needs the internet. */
function reference(): Plugin {
  return {
    name: "reference",
    closeBundle() {
      for (const file of ["swagger-ui-bundle.js", "swagger-ui.css"]) {
        cpSync(resolve(import.meta.dirname, "node_modules/swagger-ui-dist", file), resolve(built, "assets", file));
      }
    },
  };
}

export default defineConfig({
  base: "./",
  oxc: { jsx: { runtime: "automatic", importSource: "preact" } },
  build: {
    outDir: built,
    emptyOutDir: true,
    assetsInlineLimit: 0,
    rollupOptions: {
      input: {
        index: resolve(import.meta.dirname, "index.html"),
        annotate: resolve(import.meta.dirname, "annotate.html"),
      },
    },
  },
  plugins: [reference()],
  server: { proxy: { "^/(?!src|@|node_modules|annotate.html|$)": "http://127.0.0.1:8000" } },
});
