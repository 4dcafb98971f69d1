/* Shows where a narrow screen cuts something off that scrolls sideways: figures, tables, code, formulas.
   The style sheet draws a shadow at that side. Without this script everything scrolls, unmarked. */
(() => {
  "use strict";
  const BLOCKS = ["figure > img", ".pst-scrollable-table-container", "div.cell_output .output", "pre",
    "div.math mjx-container"].map((one) => `article ${one}`).join(", ");
  const INLINE = "article span.math mjx-container";

  function frameOf(box) {
    if (box.parentElement.matches(".saecert-edges")) return box.parentElement;
    const frame = document.createElement("div");
    frame.className = "saecert-edges";
    box.before(frame);
    frame.append(box);
    return frame;
  }

  /* An image does not scroll by itself: it gets a box that does, so that its caption stays. */
  function boxOf(node) {
    if (node.tagName !== "IMG") return node;
    const box = document.createElement("div");
    box.className = "saecert-scrolls";
    node.before(box);
    box.append(node);
    return box;
  }

  /* A few pixels are the overhang of a letter, nothing that is cut off. */
  function mark(box, framed) {
    const hidden = box.scrollWidth - box.clientWidth;
    const least = 6;
    const target = !framed ? box : hidden > least ? frameOf(box) : box.parentElement;
    target.classList.toggle("saecert-more-left", hidden > least && box.scrollLeft > 2);
    target.classList.toggle("saecert-more-right", hidden > least && hidden - box.scrollLeft > 2);
  }

  function watch(box, framed) {
    const again = () => mark(box, framed);
    box.addEventListener("scroll", again, { passive: true });
    new ResizeObserver(again).observe(box);
  }

  window.addEventListener("load", async () => {
    await window.MathJax?.startup?.promise;
    for (const node of document.querySelectorAll(BLOCKS)) watch(boxOf(node), true);
    for (const node of document.querySelectorAll(INLINE)) watch(node, false);
  });
})();
