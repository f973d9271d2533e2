// The live page. One stream of server-sent events updates it; what the operator does is sent to the HTTP API.
"use strict";

const MAX_SECONDS = 600; // shown in the live chart
const MIN_SPAN = 60; // seconds that it shows at least
const TICK_STEPS = [15, 30, 60, 120, 300, 600, 1800, 3600, 7200, 14400, 43200, 86400, 172800, 432000]; // between labels of the time axis
const LABEL_SPACE = 110; // pixels for such a label
const CHARACTER = 9; // pixels, at most, of a label's character
const HISTORY_INTERVAL = 30_000; // milliseconds after which the history is read again
const SUPERSCRIPTS = "⁰¹²³⁴⁵⁶⁷⁸⁹";
const MAX_ALARMS = 100;
const RECONNECT_DELAY = 2000; // milliseconds

const $ = (id) => document.getElementById(id);
const models = new Map(); // the state of each model, by name
let selected = ""; // name of the model that is shown
let history = null; // what the service answered to the latest question for hours or days
let candidate = null; // a threshold being tried: {model, threshold, request}

const number = (value, digits = 4) =>
  value === null || value === undefined ? "–" : Number(value).toLocaleString("en", { maximumSignificantDigits: digits });
const count = (value) => value.toLocaleString("en");
const percent = (value) => (value === null || value === undefined ? "–" : `${number(100 * value, 3)} %`);
const powerOfTen = (power) =>
  power >= -3 && power <= 4 ? number(10 ** power) : `10${power < 0 ? "⁻" : ""}${[...String(Math.abs(power))].map((digit) => SUPERSCRIPTS[digit]).join("")}`;

function clockTime(seconds) {
  const time = new Date(1000 * seconds);
  const clock = time.toLocaleTimeString([], { hour12: false });
  return time.toDateString() === new Date().toDateString() ? clock : `${time.toLocaleDateString("sv")} ${clock}`;
}

function element(name, attributes = {}, ...children) {
  const created = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (key.startsWith("on")) created.addEventListener(key.slice(2), value);
    else created.setAttribute(key, value);
  }
  created.append(...children);
  return created;
}

// Requests

function authorization() {
  const token = sessionStorage.getItem("token");
  return token ? { authorization: `Bearer ${token}` } : {};
}

const post = (action, body) =>
  ask(action, {
    method: "POST",
    headers: { ...authorization(), "content-type": "application/json" },
    body: body === undefined ? "" : JSON.stringify(body),
  });

async function ask(action, options = { headers: authorization() }) {
  const response = await fetch(`v1/models/${encodeURIComponent(selected)}/${action}`, options);
  const result = await response.json();
  if (!response.ok) throw new Error(result.detail);
  return result;
}

async function showingErrors(work) {
  $("error").hidden = true;
  try {
    return await work();
  } catch (error) {
    $("error").textContent = error.message;
    $("error").hidden = false;
  }
}

async function confirmed(title, text, button) {
  $("confirm-title").textContent = title;
  $("confirm-text").textContent = text;
  $("confirm").textContent = button;
  return (await resultOf($("confirm-dialog"))) === "yes";
}

function resultOf(dialog) {
  dialog.returnValue = "";
  dialog.showModal();
  return new Promise((resolve) => dialog.addEventListener("close", () => resolve(dialog.returnValue), { once: true }));
}

// Events

async function listen() {
  for (;;) {
    try {
      const response = await fetch("v1/events", { headers: authorization() });
      if (response.status === 401 || response.status === 403) {
        await askForToken();
        continue;
      }
      if (!response.ok) throw new Error((await response.json()).detail);
      for (const model of models.values()) model.reconnected = true;
      await readEvents(response.body);
      throw new Error("the service has stopped");
    } catch (error) {
      showState("lost", `not connected: ${error.message}`);
    }
    await new Promise((resolve) => setTimeout(resolve, RECONNECT_DELAY));
  }
}

async function askForToken() {
  await resultOf($("token-dialog"));
  sessionStorage.setItem("token", $("token").value);
  $("token").value = "";
}

async function readEvents(body) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let buffer = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    buffer += value;
    const events = buffer.split("\n\n");
    buffer = events.pop();
    for (const event of events) update(JSON.parse(event.replace(/^data: /, "")));
  }
}

function update(event) {
  showState("live", "live");
  for (const model of event.models) {
    const known = models.get(model.name) ?? { seconds: [], alarms: [] };
    if (known.reconnected) known.alarms = []; // the first event lists all alarms again
    const now = Date.now() / 1000;
    const seconds = [...known.seconds, ...model.seconds].filter(([at]) => at > now - MAX_SECONDS);
    const alarms = [...model.alarms.reverse(), ...known.alarms].slice(0, MAX_ALARMS);
    models.set(model.name, { ...model, seconds, alarms, alarmsChanged: model.alarms.length > 0 || known.reconnected });
  }
  const names = event.models.map((model) => model.name);
  if (!names.includes(selected)) selected = names[0];
  if ([...$("model").options].map((option) => option.value).join() !== names.join()) {
    $("model").replaceChildren(...names.map((name) => element("option", { value: name }, name)));
    $("model").value = selected;
  }
  show();
}

function showState(kind, text) {
  if ($("state").textContent !== text) $("state").textContent = text;
  $("state").className = kind;
}

// Sections of the page

function show() {
  const model = models.get(selected);
  if (!model) return;
  showChart(model);
  showPromise(model);
  showDrift(model);
  showVersions(model);
  showShadow(model);
  showAlarms(model);
}

function showFacts(list, facts) {
  list.replaceChildren(
    ...facts.flatMap(([name, text, isBad]) => [element("dt", {}, name), element("dd", isBad ? { class: "bad" } : {}, text)]),
  );
}

function showPromise(model) {
  const rate = model.decision.false_alarm_rate;
  const unit = model.window ? `normal stretches of ${model.window.length} rows start an alarm` : "normal rows";
  const promise = rate ? `at most ${percent(rate)} of ${unit}` : `none; about ${percent(model.expected_alarm_ratio)} of ${unit}`;
  const alarms = model.window ? ` in ${count(model.alarms_begun)} alarms` : "";
  showFacts($("promise"), [
    ["Answers", `version ${model.version}${model.pinned ? ", pinned" : ""}`],
    ["Threshold", `${number(model.decision.threshold)} nats, ${model.decision.criterion}`],
    ["Promised", promise],
    ["Flagged recently", `${percent(model.alarm_ratio)}${model.is_off_promise ? ": more than promised" : ""}`, model.is_off_promise],
    ["Rows", `${count(model.rows)}, ${count(model.anomalies)} of them flagged${alarms}`],
    ["Rejected", count(model.rejected)],
  ]);
}

function showDrift(model) {
  const facts = [["Evidence", ...evidence(model)]];
  if (model.drift) {
    facts.push(["Latest scores", `${number(model.drift.median, 3)} in the middle; ${number(model.drift.usual, 3)} in calibration`]);
    const moved = model.drift.columns.map(
      ({ column, found, expected, share }) =>
        `${column}${found === null ? "" : `: typically ${found}, expected ${expected}`} (${percent(share)} of the score)`,
    );
    for (const [index, text] of moved.entries()) facts.push([index ? "" : "Moved most", text]);
    for (const [index, { column, stability_index }] of model.drift.changed.entries()) {
      facts.push([index ? "" : "Since training", `${column}: a large change (${number(stability_index, 3)})`, true]);
    }
  }
  const changed = model.changed.filter(([, stability]) => stability > 0.1);
  for (const [index, [column, stability]] of changed.entries()) {
    const isLarge = stability > 0.25;
    facts.push([index ? "" : "Since the start", `${column}: ${isLarge ? "a large" : "some"} change (${number(stability, 3)})`, isLarge]);
  }
  if (!changed.length) {
    facts.push(["Since the start", model.changed.length ? "no column has changed" : "columns are compared after 3,000 rows"]);
  }
  showFacts($("drift"), facts);
}

function evidence(model) {
  if (model.window) return ["not available for a series, whose rows depend on each other"];
  const value = number(model.martingale, 3);
  if (!(model.martingale > 2)) return [`${value}: no sign of drift (2 would be strong: by chance at most once in 100)`];
  const odds = model.martingale < 6 ? count(Math.round(10 ** model.martingale)) : powerOfTen(Math.floor(model.martingale));
  return [`${value}: the data has changed; rows like those of the calibration get here at most once in ${odds}`, true];
}

function showVersions(model) {
  const shown = JSON.stringify([model.name, model.version, model.versions, model.shadow?.version]);
  if ($("versions").dataset.shown === shown) return; // so that a focused button keeps its focus
  $("versions").dataset.shown = shown;
  const lines = model.versions.map((version) => {
    if (version === model.version) return element("li", {}, `Version ${version}`, element("strong", {}, "answers"));
    const role = version === model.shadow?.version ? ", shadow" : "";
    const onclick = () => showingErrors(() => promote(version));
    const button = element("button", { type: "button", "aria-label": `Promote version ${version}`, onclick }, "Promote");
    return element("li", {}, `Version ${version}${role}`, button);
  });
  $("versions").replaceChildren(...lines.reverse());
}

function showShadow(model) {
  const agreement = model.shadow?.agreement;
  if (!agreement) {
    return showFacts($("shadow"), [["None", "While an older version is pinned, a newer one scores a share of the requests too."]]);
  }
  showFacts($("shadow"), [
    ["Version", String(model.shadow.version)],
    ["Rows", `${count(agreement.rows)} scored by both`],
    ["Same verdicts", percent(agreement.same_verdicts)],
    ["Flagged by it alone", `${count(agreement.shadow_alone)}; by the current version alone ${count(agreement.current_alone)}`],
    ["Alarm ratio", `${percent(agreement.shadow_alarm_ratio)}; current version ${percent(agreement.current_alarm_ratio)}`],
    ["Order", `rank correlation ${number(agreement.rank_correlation, 3)}`],
  ]);
}

function showAlarms(model) {
  const isOtherModel = $("alarms").dataset.model !== model.name;
  if (!model.alarmsChanged && !isOtherModel) return;
  $("alarms").dataset.model = model.name;
  model.alarmsChanged = false;
  $("no-alarms").hidden = model.alarms.length > 0;
  const lines = new Map(isOtherModel ? [] : [...$("alarms").children].map((line) => [line.dataset.key, line]));
  $("alarms").replaceChildren(
    ...model.alarms.map((alarm) => {
      const key = `${alarm.request_id} ${alarm.row} ${alarm.id}`;
      return lines.get(key) ?? alarmLine(alarm, key);
    }),
  );
}

function alarmLine(alarm, key) {
  const reasons = alarm.reasons.map((reason) =>
    element("li", {}, `${reason.column}: ${reason.found ?? "missing"}, expected ${reason.expected ?? "none"} (${percent(reason.share)})`),
  );
  if (!reasons.length) reasons.push(element("li", { class: "note" }, "no reasons: the request asked for none, or its format has none"));
  const feedbackButton = (verdict, label) => {
    const onclick = (event) =>
      showingErrors(async () => {
        await post("feedback", { request_id: alarm.request_id, row: alarm.row, verdict });
        event.target.parentElement.replaceChildren(element("span", { class: "note" }, `Saved: ${label.toLowerCase()}.`));
      });
    return element("button", { type: "button", onclick }, label);
  };
  const labels = Object.entries(alarm.labels).map(([column, text]) => `${column} ${text}`).join(", ");
  const source = `row ${alarm.row} of request ${alarm.request_id}, version ${alarm.version}, p\u00a0=\u00a0${number(alarm.p_value, 2)}`;
  return element(
    "li",
    { "data-key": key },
    element("div", {}, `${clockTime(alarm.at)} `, element("strong", {}, number(alarm.score)), ` over ${number(alarm.threshold)}`),
    ...(labels ? [element("div", { class: "labels" }, labels)] : []),
    element("ul", { class: "reasons" }, ...reasons),
    element("div", { class: "source" }, source),
    element("div", { class: "feedback" }, feedbackButton("confirmed", "Confirmed"), " ", feedbackButton("false_alarm", "False alarm")),
  );
}

// Chart: time to the right, the logarithm of the score upwards

// What the chart shows: points [at, rows, alarms, maximum, sum], each of which stands for `step` seconds, and the span to now.
function series(model) {
  const now = Date.now() / 1000;
  if ($("hours").value === "0") {
    const span = Math.max(MIN_SPAN, Math.min(MAX_SECONDS, now - Math.min(...model.seconds.map(([at]) => at))));
    return { points: model.seconds, step: 1, now, span };
  }
  const shown = history?.model === model.name ? history : { points: [], step: 60, since: now - 3600 * $("hours").value };
  const points = shown.points.map(({ at, rows, alarms, max_score, mean_score }) => [at, rows, alarms, max_score, mean_score * rows]);
  return { points, step: shown.step, now, span: now - shown.since };
}

function showChart(model) {
  const chart = $("chart");
  const { points, step, now, span } = series(model);
  const thresholds = [model.decision.threshold, ...(candidate?.model === model.name ? [candidate.threshold] : [])];
  const scores = [...points.flatMap(([, rows, , maximum, total]) => [maximum, total / rows]), ...thresholds].filter(
    (score) => score !== null && score > 0,
  );
  const low = Math.floor(Math.log10(Math.min(...scores, 1)));
  const high = Math.max(low + 1, Math.ceil(Math.log10(Math.max(...scores, 10))));
  const powers = Array.from({ length: high - low + 1 }, (_, index) => low + index);
  const [width, height] = [chart.clientWidth, chart.clientHeight];
  const [left, right] = [12 + CHARACTER * Math.max(...powers.map((power) => powerOfTen(power).length)), width - 12];
  const [top, bottom] = [12, height - 24];
  const x = (at) => left + ((at - now + span) / span) * (right - left);
  const y = (score) => {
    const level = Math.log10(Math.min(Math.max(score ?? Infinity, 10 ** low), 10 ** high)); // JSON has no infinity: it is null
    return bottom - ((level - low) / (high - low)) * (bottom - top);
  };
  const line = (kind, score) => svg("line", { class: kind, x1: left, x2: right, y1: y(score), y2: y(score) });
  const parts = [];
  for (const power of powers) {
    parts.push(line("grid", 10 ** power));
    if (powers.length < 10 || power % 2 === 0) {
      parts.push(svg("text", { x: left - 6, y: y(10 ** power) + 4, "text-anchor": "end" }, powerOfTen(power)));
    }
  }
  for (const [at, text] of ticks(now, span, (right - left) / LABEL_SPACE)) {
    const half = (CHARACTER * text.length) / 2;
    const anchor = x(at) + half >= width ? "end" : x(at) - half <= 0 ? "start" : "middle";
    parts.push(svg("text", { x: x(at), y: height - 6, "text-anchor": anchor }, text));
  }
  const middle = (at) => x(Math.min(at + step / 2, now));
  parts.push(...path(points, ([, rows, , , total]) => total / rows, "mean", middle, y, 5 * step));
  parts.push(...path(points, ([, , , maximum]) => maximum, "maximum", middle, y, 5 * step));
  for (const [index, threshold] of thresholds.entries()) {
    if (threshold > 0) parts.push(line(index ? "candidate" : "threshold", threshold));
  }
  for (const [at, rows, alarms, maximum] of points.filter((point) => point[2] > 0)) {
    const marker = svg("circle", { class: "alarm", cx: middle(at), cy: y(maximum), r: step > 1 ? 3.5 : 5 });
    marker.append(svg("title", {}, `${clockTime(at)}: ${count(alarms)} of ${count(rows)} rows flagged, up to ${number(maximum)}`));
    parts.push(marker);
  }
  const held = points.reduce((sum, point) => sum + point[2], 0);
  const label = `Scores, ${$("hours").selectedOptions[0].text}: threshold ${number(model.decision.threshold)}, ${count(held)} rows flagged`;
  chart.setAttribute("viewBox", `0 0 ${width} ${height}`);
  chart.setAttribute("aria-label", label);
  chart.replaceChildren(...parts);
  $("step").textContent = step === 1 ? "second" : step === 60 ? "minute" : step === 3600 ? "hour" : step < 3600 ? `${step / 60} minutes` : `${step / 3600} hours`;
  $("candidate-key").hidden = thresholds.length < 2;
}

// The labels of the time axis: the time since in the live chart, else the time of the day, and the date at intervals of days.
function ticks(now, span, most) {
  const step = TICK_STEPS.find((seconds) => span / seconds <= most) ?? span;
  if ($("hours").value === "0") {
    const since = (age) => (age === 0 ? "now" : step < 60 ? `−${age} s` : `−${age / 60} min`);
    return Array.from({ length: Math.floor(span / step) + 1 }, (_, index) => [now - index * step, since(index * step)]);
  }
  const offset = 60 * new Date().getTimezoneOffset();
  const first = Math.ceil((now - span - offset) / step) * step + offset;
  const text = (at) =>
    new Date(1000 * at).toLocaleString("en-GB", step < 86400 ? { hour: "2-digit", minute: "2-digit" } : { day: "numeric", month: "short" });
  return Array.from({ length: Math.floor((now - first) / step) + 1 }, (_, index) => [first + index * step, text(first + index * step)]);
}

async function readHistory() {
  const hours = $("hours").value;
  $("history-note").hidden = hours === "0";
  if (hours === "0") return;
  await showingErrors(async () => {
    const answer = await ask(`history?hours=${hours}`);
    if (hours !== $("hours").value || answer.model !== selected) return; // another was chosen meanwhile
    history = answer;
    $("history-note").textContent =
      history.kept === "file"
        ? "30 days are kept, over restarts of the service."
        : history.problem || "Kept in memory: lost when the service restarts, unless --history names a file.";
  });
  show();
}

function path(points, value, kind, x, y, pause) {
  const commands = [];
  let previous = -Infinity;
  for (const point of points) {
    const command = point[0] - previous > pause ? "M" : "L"; // no line across a pause
    commands.push(`${command}${x(point[0]).toFixed(1)} ${y(value(point)).toFixed(1)}`);
    if (command === "M") commands.push("h3"); // so that a single point is visible
    previous = point[0];
  }
  return commands.length ? [svg("path", { class: kind, d: commands.join("") })] : [];
}

function svg(name, attributes, text) {
  const created = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) created.setAttribute(key, value);
  if (text !== undefined) created.textContent = text;
  return created;
}

// Actions of the operator

async function promote(version) {
  const model = models.get(selected);
  const agreement = model.shadow?.version === version ? model.shadow.agreement : null;
  const text = agreement?.rows
    ? `On ${count(agreement.rows)} rows ${percent(agreement.same_verdicts)} of the verdicts were the same; it flags ` +
      `${percent(agreement.shadow_alarm_ratio)}, version ${model.version} flags ${percent(agreement.current_alarm_ratio)}.`
    : "It has not scored any requests as a shadow.";
  if (await confirmed(`Answer with version ${version}?`, text, `Promote version ${version}`)) await post("promote", { version });
}

$("rollback").addEventListener("click", () =>
  showingErrors(async () => {
    const title = `Roll back from version ${models.get(selected).version}?`;
    if (await confirmed(title, "The previous version answers again at once.", "Roll back")) await post("rollback");
  }),
);

function thresholdRequest() {
  const form = new FormData($("threshold"));
  const value = Number(form.get("value"));
  return form.get("by") === "threshold" ? { threshold: value } : { false_alarm_rate: value / 100 };
}

function thresholdEffect({ decision, latest, calibration }, isSeries) {
  const threshold = number(decision.threshold);
  const rows = `${latest.alarms} of the latest ${count(latest.rows)} rows (${percent(latest.alarm_ratio)})`;
  const [would, now] = isSeries
    ? [`would have been below the scores of ${rows}`, `the current one is below ${latest.alarms_now}`]
    : [`would have flagged ${rows}`, `the current one flags ${latest.alarms_now}`];
  const flagged = `${calibration.above} of ${count(calibration.rows)} calibration ${isSeries ? "stretches" : "rows"}`;
  return `A threshold of ${threshold} ${would}; ${now}. It flags ${flagged}.`;
}

$("threshold").addEventListener("submit", (event) => {
  event.preventDefault();
  showingErrors(async () => {
    const request = thresholdRequest();
    const result = await post("thresholds?dry_run=1", request);
    candidate = { model: selected, threshold: result.decision.threshold, request };
    $("threshold-result").textContent = thresholdEffect(result, Boolean(models.get(selected).window));
    $("write").disabled = false;
    show();
  });
});

$("threshold").addEventListener("input", () => {
  $("write").disabled = true;
});

$("write").addEventListener("click", () =>
  showingErrors(async () => {
    const model = models.get(selected);
    const text = model.pinned
      ? `Version ${model.version} is pinned, so that the new version becomes its shadow.`
      : "The new version answers at once.";
    if (!(await confirmed(`Write a version with the threshold ${number(candidate.threshold)}?`, text, "Write it"))) return;
    const result = await post("thresholds", candidate.request);
    $("threshold-result").textContent = `Version ${result.written} is written; version ${result.version} answers.`;
    $("write").disabled = true;
    candidate = null;
  }),
);

$("missed").addEventListener("submit", (event) => {
  event.preventDefault();
  showingErrors(async () => {
    const form = new FormData($("missed"));
    await post("feedback", { request_id: form.get("request_id"), row: Number(form.get("row")), verdict: "missed" });
    $("missed").reset();
    $("missed").querySelector("button").textContent = "Saved";
  });
});

$("model").addEventListener("change", () => {
  selected = $("model").value;
  candidate = null;
  $("write").disabled = true;
  show();
  readHistory();
});
$("hours").addEventListener("change", () => {
  show();
  readHistory();
});
setInterval(readHistory, HISTORY_INTERVAL);
window.addEventListener("resize", show);

listen();
