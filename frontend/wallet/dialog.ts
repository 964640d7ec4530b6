// The two questions that the seam itself asks: which wallet, and a click that lets the browser open its window.

/** Offers `choices` in a dialog; gives the chosen value, or nothing when it is closed. */
function ask<T>(title: string, words: string, choices: { label: string; hint?: string; value: T; primary?: boolean }[]): Promise<T | undefined> {
  return new Promise((resolve) => {
    const dialog = document.createElement("dialog");
    dialog.className = "sheet";
    dialog.setAttribute("aria-label", title);
    const heading = document.createElement("h2");
    heading.textContent = title;
    const text = document.createElement("p");
    text.className = "soft";
    text.textContent = words;
    const list = document.createElement("div");
    list.className = "stack mt-4";
    let chosen: T | undefined;
    for (const choice of choices) {
      const button = document.createElement("button");
      button.className = choice.primary ? "button primary" : "button";
      button.textContent = choice.hint === undefined ? choice.label : `${choice.label} (${choice.hint})`;
      button.addEventListener("click", () => {
        chosen = choice.value;
        dialog.close();
      });
      list.append(button);
    }
    const close = document.createElement("button");
    close.className = "button";
    close.textContent = "Cancel";
    close.addEventListener("click", () => dialog.close());
    list.append(close);
    dialog.append(heading, text, list);
    dialog.addEventListener("close", () => {
      dialog.remove();
      resolve(chosen);
    });
    document.body.append(dialog);
    dialog.showModal();
  });
}

export interface Choice {
  id: string;
  name: string;
  tried: boolean;
}

/** Which wallet; ours, because the connector's own chooser neither fits the page nor says which wallets were tried. */
export function chooseWallet(wallets: Choice[]): Promise<string | undefined> {
  const choices = wallets.map(({ id, name, tried }) => ({ label: name, value: id, ...(tried ? {} : { hint: "not tried with Starling yet" }) }));
  return ask("Choose a wallet", "Starling never sees your keys: the wallet shows what it signs.", choices);
}

/** Browsers open a window only right after a click: asks for one. */
export async function askForClick(wallet: string): Promise<boolean> {
  return (await ask("Your wallet is ready", "The browser opens its window only after a click.", [{ label: `Open ${wallet}`, value: true, primary: true }])) === true;
}
