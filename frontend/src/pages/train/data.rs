//! What a person is about to train on, looked at before anything leaves this browser.

use crate::{components::ui::chosen_file, pages::models::size_word};
use leptos::{html, prelude::*, task::spawn_local};
use starling_http_api::run::DataKind;
use starling_primitives::grouped;

/// So much of a file is shown.
const SHOWN_CHARS: usize = 1_200;
/// Every so many bytes one is held out.
const HELD_OUT: u64 = 10;

/// What was found in a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Preview {
    name: String,
    bytes: u64,
    lines: u64,
    /// The beginning, if it is text.
    text: Option<String>,
    /// How many of the 256 bytes occur.
    kinds: usize,
}

impl Preview {
    fn of(name: String, bytes: &[u8]) -> Self {
        let head = &bytes[..bytes.len().min(4 * SHOWN_CHARS)];
        // A character that the cut went through is no reason to call it no text.
        let whole = match std::str::from_utf8(head) {
            Ok(text) => Some(text),
            Err(error) if error.error_len().is_none() => std::str::from_utf8(&head[..error.valid_up_to()]).ok(),
            Err(_) => None,
        };
        let mut seen = [false; 256];
        for byte in bytes {
            seen[usize::from(*byte)] = true;
        }
        Self {
            name,
            bytes: bytes.len() as u64,
            lines: bytes.iter().filter(|byte| **byte == b'\n').count() as u64,
            text: whole.map(|text| text.chars().take(SHOWN_CHARS).collect()),
            kinds: seen.iter().filter(|seen| **seen).count(),
        }
    }
}

/// What the field for the file is called.
pub(super) fn label(kind: DataKind) -> &'static str {
    match kind {
        DataKind::Text => "Text to train on",
        DataKind::LabelledTexts => "Texts with classes to train on",
        DataKind::Table => "Table to train on",
        DataKind::Images => "Images to train on",
    }
}

/// What the file must be.
pub(super) fn hint(kind: DataKind) -> &'static str {
    match kind {
        DataKind::Text => "One file.",
        DataKind::LabelledTexts => {
            "CSV with the columns text and label, or JSON lines with these fields. A text counts as all tokens that the model has room for."
        }
        DataKind::Table => "CSV with a header: a column label, and numbers in all others. A row counts as one token.",
        DataKind::Images => {
            "A zip or tar of PNG, PGM or PPM images of one size; the folder of an image is its class. An image counts as one token."
        }
    }
}

/// Reads the chosen file; it stays in this browser.
pub(super) fn look(input: NodeRef<html::Input>, preview: RwSignal<Option<Preview>>) {
    let Some(input) = input.get_untracked() else { return };
    spawn_local(async move {
        let found = chosen_file(&input).await.map(|(name, bytes)| Preview::of(name, &bytes));
        preview.try_set(found);
    });
}

/// The schema that training sees, the figures of the file, and its beginning.
#[component]
pub(super) fn Looked(
    preview: RwSignal<Option<Preview>>,
    kind: Signal<DataKind>,
    #[prop(into)] tokens: Signal<Option<u32>>,
) -> impl IntoView {
    move || {
        preview.get().map(|preview| {
            let held_out = preview.bytes / HELD_OUT;
            let train = preview.bytes - held_out;
            let is_text = kind.get() == DataKind::Text;
            let short = tokens.get().filter(|tokens| is_text && u64::from(*tokens) > train);
            view! {
                <section class="note" aria-label="Data preview">
                    <p><strong>{preview.name}</strong>", "<span class="num" title=format!("{} bytes", preview.bytes)>{size_word(preview.bytes)}</span>{format!(", {} lines, {} different bytes", grouped(preview.lines), preview.kinds)}</p>
                    {is_text.then(|| view! { <dl class="pairs"><dt>"Schema"</dt><dd>"one stream of bytes; the model makes tokens of it"</dd><dt>"Trained on"</dt><dd class="num">{size_word(train)}", the first nine tenths"</dd><dt>"Held out"</dt><dd class="num">{size_word(held_out)}", the last tenth"</dd></dl> })}
                    {(!is_text).then(|| view! { <p>"A node checks every row or image before there is a quote, and names the first that is wrong. A tenth of them, drawn by the recipe's seed, is held out."</p> })}
                    {short.map(|tokens| view! { <p>{format!("Each node reads {} tokens a round, more than there are: it will see the same text again and again.", grouped(u64::from(tokens)))}</p> })}
                    {match preview.text {
                        Some(text) => view! { <div class="log" role="region" tabindex="0" aria-label="Beginning of the file" style="max-height: 160px">{text}</div> }.into_any(),
                        None if is_text => view! { <p>"This is no UTF-8 text. It can be trained on as bytes, but samples will not be readable."</p> }.into_any(),
                        None => ().into_any(),
                    }}
                    <p class="faint">"Shown from this browser: nothing is uploaded before you ask for the quote. From then on the providers of this run can read it."</p>
                </section>
            }
        })
    }
}
