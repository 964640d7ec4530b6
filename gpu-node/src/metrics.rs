//! Prometheus metrics on a local port: what `status` shows, as figures.

use crate::{control::Tally, work::Context};
use starling_limits::Action;
use std::{io, net::SocketAddr, sync::Arc, time::Duration};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};

/// A request of a scraper is a few hundred bytes.
const MAX_REQUEST_BYTES: usize = 8 * 1024;
const PATIENCE: Duration = Duration::from_secs(10);

/// Opens the port.
pub(crate) async fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    TcpListener::bind(address).await
}

/// Answers scrapers, one after the other, for as long as the program runs.
pub(crate) async fn serve(context: Arc<Context>, listener: TcpListener) {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => match tokio::time::timeout(PATIENCE, answer(&context, stream)).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => tracing::debug!(%error, "a scraper went away"),
                Err(_) => tracing::debug!("a scraper was too slow"),
            },
            Err(error) => {
                tracing::warn!(%error, "the metrics port takes no connection");
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        }
    }
}

async fn answer(context: &Context, mut stream: TcpStream) -> io::Result<()> {
    let (mut request, mut part) = (Vec::new(), [0; 1_024]);
    while !request.windows(4).any(|window| window == b"\r\n\r\n") {
        let count = stream.read(&mut part).await?;
        if count == 0 || request.len() + count > MAX_REQUEST_BYTES {
            return Ok(());
        }
        request.extend_from_slice(&part[..count]);
    }
    let (status, body) = if request.starts_with(b"GET /metrics ") { ("200 OK", text(context)) } else { ("404 Not Found", String::new()) };
    let kind = "text/plain; version=0.0.4; charset=utf-8";
    let head = format!("HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", body.len());
    stream.write_all(head.as_bytes()).await?;
    stream.write_all(body.as_bytes()).await
}

fn text(context: &Context) -> String {
    let mut page = Page::default();
    let (connected, work) = context.board.shown();
    let shown = context.pace.shown();
    let Tally { rounds_signed, rounds_trained, steps_ahead, leases, metered_ms, metered_pay: _, handed_over } = context.tally();
    page.add("starling_node_connected", "gauge", "Whether the coordinator hears the node.", "", u8::from(connected));
    page.add("starling_node_tasks", "gauge", "Tasks under way.", "", work.len());
    let share = shown.action.share().map_or(0, |share| share.as_percent());
    page.add("starling_node_share_percent", "gauge", "Part of the time in which work may go on, by limits and orders.", "", share);
    let takes = matches!(shown.action, Action::Full | Action::Throttle { .. });
    page.add("starling_node_takes_work", "gauge", "Whether new work is taken.", "", u8::from(takes));
    page.add("starling_node_rounds_trained_total", "counter", "Shares of rounds committed to.", "", rounds_trained);
    page.add("starling_node_steps_ahead_total", "counter", "Inner steps made while an update was on its way.", "", steps_ahead);
    page.add("starling_node_rounds_signed_total", "counter", "Round records checked and signed.", "", rounds_signed);
    page.add("starling_node_leases_total", "counter", "Leases served to an end.", "", leases);
    page.add("starling_node_metered_milliseconds_total", "counter", "Time that meters signed.", "", metered_ms);
    page.add("starling_node_handed_over_total", "counter", "Times that work was handed over.", "", handed_over);
    for device in shown.readings.iter().flat_map(|readings| &readings.devices) {
        let label = format!("{{device=\"{}\"}}", escaped(&device.name));
        let figures = [
            ("starling_device_temperature_celsius", "Warmest sensor.", device.temperature_celsius.map(u64::from)),
            ("starling_device_power_watts", "Power drawn.", device.power_watts.map(u64::from)),
            ("starling_device_utilisation_percent", "Part of the time in which it worked.", device.utilisation_percent.map(u64::from)),
            ("starling_device_memory_used_mib", "Memory of its own in use.", device.memory_used_mib),
        ];
        for (name, help, figure) in figures {
            if let Some(figure) = figure {
                page.add(name, "gauge", help, &label, figure);
            }
        }
    }
    let readings = shown.readings.unwrap_or_default();
    if let Some(free) = readings.free_disk_mib {
        page.add("starling_node_free_disk_mib", "gauge", "Free space where the node keeps its files.", "", free);
    }
    if let Some(others) = readings.others_percent {
        page.add("starling_node_others_percent", "gauge", "Processor time that others use.", "", others);
    }
    page.text
}

/// A page in Prometheus' text format.
#[derive(Default)]
struct Page {
    text: String,
}

impl Page {
    fn add(&mut self, name: &str, kind: &str, help: &str, label: &str, figure: impl std::fmt::Display) {
        let head = format!("# TYPE {name} {kind}\n");
        // One head for all devices.
        if !self.text.contains(&head) {
            self.text.push_str(&format!("# HELP {name} {help}\n{head}"));
        }
        self.text.push_str(&format!("{name}{label} {figure}\n"));
    }
}

fn escaped(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', " ")
}

#[cfg(test)]
mod tests {
    #![expect(non_snake_case, reason = "tests are named subject__should_effect")]

    use super::*;

    #[test]
    fn page__should_name_each_metric_once() {
        let mut page = Page::default();
        page.add("a", "gauge", "A.", "{device=\"x\"}", 1);
        page.add("a", "gauge", "A.", "{device=\"y\"}", 2);
        assert_eq!(page.text, "# HELP a A.\n# TYPE a gauge\na{device=\"x\"} 1\na{device=\"y\"} 2\n");
        assert_eq!(escaped("a\"b\\"), "a\\\"b\\\\");
    }
}
