// Keys, focus and dropped files; everything else is htmx's, or works without scripts.
"use strict";

// On a narrow screen the page's own name may lie outside of what is seen of the navigation.
document.querySelector(".top [aria-current]")?.scrollIntoView({ block: "nearest", inline: "center" });

const cards = () => [...document.querySelectorAll(".card .edit")];

// The button of the card that an arrow leads to: the nearest in the row above or below, or the next one.
function towards(key, from) {
  const all = cards();
  const at = all.indexOf(from);
  if (at < 0) return all[0];
  if (key === "ArrowRight") return all[at + 1];
  if (key === "ArrowLeft") return all[at - 1];
  const box = (one) => one.closest(".card").getBoundingClientRect();
  const here = box(from);
  const rows = all.filter((one) => (key === "ArrowDown" ? box(one).top > here.top + 1 : box(one).top < here.top - 1));
  if (key === "ArrowUp") rows.reverse();
  const near = rows.filter((one) => Math.abs(box(one).top - box(rows[0]).top) < 2);
  return near.sort((a, b) => Math.abs(box(a).left - here.left) - Math.abs(box(b).left - here.left))[0];
}

document.addEventListener("keydown", (event) => {
  const field = event.target.closest("input, select, textarea");
  if (event.altKey || event.ctrlKey || event.metaKey || event.isComposing) return;
  if (field?.name === "text") {
    if (event.key === "Escape") field.form.querySelector("[data-cancel]").click();
    else if (event.key === "Enter" && !event.shiftKey) field.form.requestSubmit();
    else return;
    event.preventDefault();
  } else if (event.key === "Escape" && (field || event.target.closest(".card"))) {
    event.target.blur();
  } else if (!field && event.key === "/" && document.querySelector("#q")) {
    event.preventDefault();
    document.querySelector("#q").focus();
  } else if (!field) {
    const link = document.querySelector(`[data-key="${event.key}"]`);
    if (link) link.click();
    else if (event.key.startsWith("Arrow") && cards().length && !event.target.closest(".scroll")) {
      const next = towards(event.key, event.target.closest(".card")?.querySelector(".edit"));
      if (next) {
        event.preventDefault();
        next.focus({ preventScroll: true });
        next.closest(".card").scrollIntoView({ block: "nearest" });
      }
    }
  }
});

// What came in and wants the focus has it; text is selected, to be typed over.
document.addEventListener("htmx:after:settle", () => {
  const wanted = document.querySelector("[data-focus]");
  if (!wanted) return;
  wanted.removeAttribute("data-focus");
  wanted.focus();
  if (wanted.select) wanted.select();
});

document.addEventListener("htmx:response:error", () => {
  document.querySelector("#said").textContent = "That did not work: try again";
});

const drop = document.querySelector(".drop");
if (drop) {
  const input = drop.querySelector("input");
  const count = () => {
    const names = [...input.files].map((file) => file.name);
    drop.querySelector("output").textContent = names.length ? `${names.length} chosen: ${names.slice(0, 3).join(", ")}${names.length > 3 ? ", …" : ""}` : "";
  };
  for (const name of ["dragenter", "dragover"]) drop.addEventListener(name, (event) => { event.preventDefault(); drop.classList.add("over"); });
  for (const name of ["dragleave", "drop"]) drop.addEventListener(name, () => drop.classList.remove("over"));
  drop.addEventListener("drop", (event) => { event.preventDefault(); input.files = event.dataTransfer.files; count(); });
  input.addEventListener("change", count);
}
