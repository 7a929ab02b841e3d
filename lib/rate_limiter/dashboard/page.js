// Asks for the same page every two seconds, and changes what differs, so that a selection and the focus stay.
(() => {
  "use strict";
  const EVERY_MS = 2000;
  const state = document.getElementById("state");

  const show = (kind, words) => {
    if (state.className !== kind) state.className = kind;
    if (state.textContent !== words) state.textContent = words;
  };

  const patch = (old, fresh) => {
    if (old.nodeType !== fresh.nodeType || old.nodeName !== fresh.nodeName) return old.replaceWith(fresh);
    if (old.nodeType !== Node.ELEMENT_NODE) {
      if (old.data !== fresh.data) old.data = fresh.data;
      return;
    }
    for (const { name } of [...old.attributes]) if (!fresh.hasAttribute(name)) old.removeAttribute(name);
    for (const { name, value } of fresh.attributes) if (old.getAttribute(name) !== value) old.setAttribute(name, value);
    const [before, after] = [[...old.childNodes], [...fresh.childNodes]];
    after.forEach((node, at) => (at < before.length ? patch(before[at], node) : old.append(node)));
    before.slice(after.length).forEach((node) => node.remove());
  };

  const update = async () => {
    const response = await fetch(location.href, { cache: "no-store", signal: AbortSignal.timeout(20000) });
    const main = new DOMParser().parseFromString(await response.text(), "text/html").querySelector("main");
    if (response.redirected || !main) throw new Error(`status ${response.status}`);
    patch(document.querySelector("main"), main);
  };

  const loop = async () => {
    if (!document.hidden) {
      try {
        await update();
        show("live", "live");
      } catch (error) {
        show("lost", `no reply, this page is old: ${error.message}`);
      }
    }
    setTimeout(loop, EVERY_MS);
  };

  show("live", "live");
  setTimeout(loop, EVERY_MS);
})();
