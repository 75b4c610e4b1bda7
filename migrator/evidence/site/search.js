// Finds entries by number, subject, run or event id. Loads one script of 256, so that a log of any size stays usable
// from a folder, without a server.
(function () {
  "use strict";
  const up = document.currentScript.getAttribute("src").replace("search.js", "");
  const form = document.getElementById("search");
  const result = document.getElementById("result");
  let wanted = "";

  function shard(term) {
    let value = 0x811c9dc5;
    for (const byte of new TextEncoder().encode(term)) {
      value = Math.imul(value ^ byte, 0x01000193) >>> 0;
    }
    return (value % 256).toString(16).padStart(2, "0");
  }

  function show(numbers) {
    result.replaceChildren();
    if (!numbers.length) {
      result.textContent = "Nothing has this number, subject, run or event id.";
      return;
    }
    const pages = JSON.parse(document.getElementById("pages").textContent);
    for (const seq of numbers) {
      let page = pages.findIndex((first, at) => first <= seq && (at + 1 === pages.length || seq < pages[at + 1]));
      if (page < 0) continue;
      const link = document.createElement("a");
      link.href = up + "entries/" + String(page).padStart(6, "0") + ".html#e" + seq;
      link.textContent = seq;
      result.append(link, " ");
    }
  }

  window.found = function (terms) {
    show(Object.hasOwn(terms, wanted) ? terms[wanted] : []);
  };

  function search(term) {
    wanted = term.trim();
    if (!wanted) return;
    if (/^[0-9]+$/.test(wanted)) {
      show([Number(wanted)]);
      return;
    }
    const script = document.createElement("script");
    script.src = up + "search/" + shard(wanted) + ".js";
    script.onerror = () => show([]);
    document.head.append(script);
  }

  form.hidden = false;
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    search(form.elements.term.value);
  });
  if (location.hash.startsWith("#find=")) search(decodeURIComponent(location.hash.slice(6)));
})();
