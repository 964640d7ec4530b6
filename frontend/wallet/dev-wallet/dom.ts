// Elements without a framework. Text is always set as text: nothing that a page sends is ever read as markup.

type Child = Node | string | undefined | false;
type Attributes = Record<string, string | boolean | ((event: Event) => void)>;

export function el<K extends keyof HTMLElementTagNameMap>(tag: K, attributes: Attributes = {}, ...children: Child[]): HTMLElementTagNameMap[K] {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (typeof value === "function") element.addEventListener(name, value);
    else if (value === true) element.setAttribute(name, "");
    else if (value !== false) element.setAttribute(name, value);
  }
  for (const child of children) if (child !== undefined && child !== false) element.append(child);
  return element;
}

export function pairs(...rows: [string, Child][]): HTMLElement {
  const list = el("dl", { class: "pairs" });
  for (const [name, value] of rows) {
    const entry = el("dd", { class: "num" });
    if (value !== undefined && value !== false) entry.append(value);
    list.append(el("dt", {}, name), entry);
  }
  return list;
}

/** What went wrong, said at once to screen readers too. */
export function problem(text: string): HTMLElement {
  return el("div", { class: "note bad", role: "alert" }, el("p", {}, text));
}

/** A button that cannot be pressed twice while its work lasts. */
export function button(label: string, kind: "primary" | "danger" | "" | "small", work: () => Promise<void> | void, busy = label): HTMLButtonElement {
  const element = el("button", { class: `button ${kind}`, type: "button" }, label);
  element.addEventListener("click", async () => {
    element.disabled = true;
    element.textContent = busy;
    try {
      await work();
    } finally {
      element.disabled = false;
      element.textContent = label;
    }
  });
  return element;
}
