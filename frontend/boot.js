// Starts the dashboard. The page's script tag names the files, so that this one script serves every way of building it.
const names = document.querySelector("script[data-bindings]").dataset;

// Parts that are loaded on demand, by name: `await starling.load("wallet")` gives that bundle's exports.
globalThis.starling = Object.freeze({
  load: (name) => (names[name] ? import(names[name]) : Promise.reject(new Error(`the page names no part "${name}"`))),
});

const { default: start } = await import(names.bindings);
await start({ module_or_path: names.module });
