// The page that an operator leaves open. One stream of server-sent events says everything; what is done here is asked by HTTP.
"use strict";

const SHOWN = 600; // seconds at most
const LEAST = 60; // seconds that the drawing shows at least
const STEPS = [15, 30, 60, 120, 300]; // seconds between the times that are written under it
const MOST_ALARMS = 100;
const AGAIN = 2000; // milliseconds until a lost connection is tried again

const $ = (id) => document.getElementById(id);
const models = new Map(); // name -> what is known of it
let chosen = "";
let tried = null; // a threshold that is being tried: {model, threshold, said}

const number = (value, digits = 4) =>
  value === null || value === undefined ? "–" : Number(value).toLocaleString("en", { maximumSignificantDigits: digits });
const share = (value) => (value === null || value === undefined ? "–" : `${number(100 * value, 3)} %`);
const time = (seconds) => new Date(1000 * seconds).toLocaleTimeString([], { hour12: false });

function element(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (key.startsWith("on")) made.addEventListener(key.slice(2), value);
    else made.setAttribute(key, value);
  }
  made.append(...children);
  return made;
}

// Asking

function headers() {
  const token = sessionStorage.getItem("token");
  return token ? { authorization: `Bearer ${token}` } : {};
}

async function ask(what, said) {
  const answer = await fetch(`v1/models/${encodeURIComponent(chosen)}/${what}`, {
    method: "POST",
    headers: { ...headers(), "content-type": "application/json" },
    body: said === undefined ? "" : JSON.stringify(said),
  });
  const found = await answer.json();
  if (!answer.ok) throw new Error(found.detail);
  return found;
}

async function attempt(work) {
  $("fault").hidden = true;
  try {
    return await work();
  } catch (error) {
    $("fault").textContent = error.message;
    $("fault").hidden = false;
  }
}

function confirmed(question, because, yes) {
  $("asked").textContent = question;
  $("because").textContent = because;
  $("yes").textContent = yes;
  return closed($("asking")).then((said) => said === "yes");
}

function closed(dialog) {
  dialog.returnValue = "";
  dialog.showModal();
  return new Promise((done) => dialog.addEventListener("close", () => done(dialog.returnValue), { once: true }));
}

// Listening

async function listen() {
  for (;;) {
    try {
      const answer = await fetch("v1/events", { headers: headers() });
      if (answer.status === 401 || answer.status === 403) {
        await enter();
        continue;
      }
      if (!answer.ok) throw new Error((await answer.json()).detail);
      for (const name of models.keys()) models.get(name).fresh = true;
      await read(answer.body);
      throw new Error("the service went down");
    } catch (error) {
      state("lost", `not connected: ${error.message}`);
    }
    await new Promise((done) => setTimeout(done, AGAIN));
  }
}

async function enter() {
  await closed($("entering"));
  sessionStorage.setItem("token", $("token").value);
  $("token").value = "";
}

async function read(body) {
  const pieces = body.pipeThrough(new TextDecoderStream()).getReader();
  let held = "";
  for (;;) {
    const { value, done } = await pieces.read();
    if (done) return;
    held += value;
    const events = held.split("\n\n");
    held = events.pop();
    for (const event of events) take(JSON.parse(event.replace(/^data: /, "")));
  }
}

function take(said) {
  state("live", "live");
  for (const model of said.models) {
    const known = models.get(model.name) ?? { seconds: [], alarms: [] };
    if (known.fresh) known.alarms = []; // they all come again
    const now = Date.now() / 1000;
    const seconds = [...known.seconds, ...model.seconds].filter(([at]) => at > now - SHOWN);
    const alarms = [...model.alarms.reverse(), ...known.alarms].slice(0, MOST_ALARMS);
    models.set(model.name, { ...model, seconds, alarms, came: model.alarms.length > 0 || known.fresh });
  }
  const names = said.models.map((model) => model.name);
  if (!names.includes(chosen)) chosen = names[0];
  if ([...$("model").options].map((option) => option.value).join() !== names.join()) {
    $("model").replaceChildren(...names.map((name) => element("option", { value: name }, name)));
    $("model").value = chosen;
  }
  show();
}

function state(kind, said) {
  if ($("state").textContent !== said) $("state").textContent = said;
  $("state").className = kind;
}

// Showing

function show() {
  const model = models.get(chosen);
  if (!model) return;
  draw(model);
  showPromise(model);
  showDrift(model);
  showVersions(model);
  showShadow(model);
  showAlarms(model);
}

function facts(list, some) {
  list.replaceChildren(
    ...some.flatMap(([name, said, off]) => [element("dt", {}, name), element("dd", off ? { class: "off" } : {}, said)]),
  );
}

function showPromise(model) {
  const rate = model.decision.false_alarm_rate;
  const what = model.window ? `normal stretches of ${model.window.length} rows begin an alarm` : "normal rows";
  const promised = rate ? `at most ${share(rate)} of ${what}` : `none; of ${what} about ${share(model.expected_alarm_ratio)}`;
  const begun = model.window ? ` in ${model.alarms_begun.toLocaleString("en")} alarms` : "";
  facts($("promise"), [
    ["Answers", `version ${model.version}${model.pinned ? ", pinned" : ""}`],
    ["Threshold", `${number(model.decision.threshold)} nats, ${model.decision.criterion}`],
    ["Promised", promised],
    ["Flagged lately", share(model.alarm_ratio)],
    ["Rows", `${model.rows.toLocaleString("en")}, ${model.anomalies.toLocaleString("en")} of them flagged${begun}`],
    ["Not readable", model.rejected.toLocaleString("en")],
  ]);
}

function showDrift(model) {
  const drifts = model.martingale > 2;
  const changed = model.changed.map(([column, index]) => [column, `${number(index, 3)}${index > 0.25 ? ": much has changed" : ""}`, index > 0.25]);
  facts($("drift"), [
    model.window
      ? ["Evidence", "not told of a series, whose rows hang together"]
      : ["Evidence", `${number(model.martingale, 3)}${drifts ? ": rows no longer come as they did" : " (2 is much)"}`, drifts],
    ...(changed.length ? changed : [["Columns", "not yet known: 3,000 rows are needed"]]),
  ]);
}

function showVersions(model) {
  const told = JSON.stringify([model.name, model.version, model.versions, model.shadow?.version]);
  if ($("versions").dataset.told === told) return; // a button that has the focus keeps it
  $("versions").dataset.told = told;
  const lines = model.versions.map((version) => {
    if (version === model.version) return element("li", {}, `Version ${version}`, element("strong", {}, "answers"));
    const where = version === model.shadow?.version ? ", in the shadow" : "";
    const promote = () => attempt(() => move(version));
    const button = element("button", { type: "button", "aria-label": `Promote version ${version}`, onclick: promote }, "Promote");
    return element("li", {}, `Version ${version}${where}`, button);
  });
  $("versions").replaceChildren(...lines.reverse());
}

function showShadow(model) {
  const found = model.shadow?.agreement;
  if (!found) return facts($("shadow"), [["None", "A newer version judges here while a pin holds an older one."]]);
  facts($("shadow"), [
    ["Version", String(model.shadow.version)],
    ["Rows", `${found.rows.toLocaleString("en")} that both judged`],
    ["Same verdicts", share(found.same_verdicts)],
    ["Flag alone", `${found.shadow_alone.toLocaleString("en")}; the one that answers ${found.current_alone.toLocaleString("en")}`],
    ["Alarm ratio", `${share(found.shadow_alarm_ratio)}; the one that answers ${share(found.current_alarm_ratio)}`],
    ["Order", `rank correlation ${number(found.rank_correlation, 3)}`],
  ]);
}

function showAlarms(model) {
  if (!model.came && $("alarms").dataset.of === model.name) return;
  const others = $("alarms").dataset.of !== model.name;
  $("alarms").dataset.of = model.name;
  model.came = false;
  $("quiet").hidden = model.alarms.length > 0;
  const shown = new Map(others ? [] : [...$("alarms").children].map((line) => [line.dataset.key, line]));
  $("alarms").replaceChildren(
    ...model.alarms.map((alarm) => {
      const key = `${alarm.request_id} ${alarm.row} ${alarm.id}`;
      return shown.get(key) ?? alarmLine(alarm, key);
    }),
  );
}

function alarmLine(alarm, key) {
  const reasons = alarm.reasons.map((reason) =>
    element("li", {}, `${reason.column}: ${reason.found ?? "missing"}, expected ${reason.expected ?? "none"} (${share(reason.share)})`),
  );
  const judge = (verdict, said) =>
    element(
      "button",
      {
        type: "button",
        onclick: (event) =>
          attempt(async () => {
            await ask("feedback", { request_id: alarm.request_id, row: alarm.row, verdict });
            event.target.parentElement.replaceChildren(element("span", { class: "note" }, `Noted down: ${said.toLowerCase()}.`));
          }),
      },
      said,
    );
  return element(
    "li",
    { "data-key": key },
    element("div", {}, `${time(alarm.at)} `, element("strong", {}, number(alarm.score)), ` over ${number(alarm.threshold)}`),
    element("ul", { class: "reasons" }, ...reasons),
    element("div", { class: "where" }, `row ${alarm.row} of request ${alarm.request_id}, version ${alarm.version}, p\u00a0=\u00a0${number(alarm.p_value, 2)}`),
    element("div", { class: "verdict" }, judge("confirmed", "Confirmed"), " ", judge("false_alarm", "False alarm")),
  );
}

// Drawing: time to the right, the logarithm of the score upwards

function draw(model) {
  const chart = $("chart");
  const [width, height] = [chart.clientWidth, chart.clientHeight];
  const [left, right, top, bottom] = [52, width - 12, 10, height - 22];
  const now = Date.now() / 1000;
  const lines = tried?.model === model.name ? [model.decision.threshold, tried.threshold] : [model.decision.threshold];
  const scores = [...model.seconds.flatMap(([, rows, , highest, total]) => [highest, total / rows]), ...model.alarms.map((alarm) => alarm.score), ...lines]
    .filter((score) => score !== null && score > 0);
  const low = Math.floor(Math.log10(Math.min(...scores, 1)));
  const high = Math.max(low + 1, Math.ceil(Math.log10(Math.max(...scores, 10))));
  const first = Math.min(...model.seconds.map(([at]) => at), ...model.alarms.map((alarm) => alarm.at));
  const span = Math.max(LEAST, Math.min(SHOWN, now - first));
  const step = STEPS.find((seconds) => span / seconds <= width / 120) ?? 300;
  const x = (at) => left + ((at - now + span) / span) * (right - left);
  const y = (score) => {
    const level = Math.log10(Math.max(score, 10 ** low));
    return bottom - ((level - low) / (high - low)) * (bottom - top);
  };
  const parts = [];
  for (let power = low; power <= high; power += 1) {
    parts.push(svg("line", { class: "grid", x1: left, x2: right, y1: y(10 ** power), y2: y(10 ** power) }));
    parts.push(svg("text", { x: left - 6, y: y(10 ** power) + 4, "text-anchor": "end" }, number(10 ** power)));
  }
  for (let ago = 0; ago <= span; ago += step) {
    const said = ago === 0 ? "now" : step < 60 ? `−${ago} s` : `−${ago / 60} min`;
    parts.push(svg("text", { x: x(now - ago), y: height - 6, "text-anchor": ago === 0 ? "end" : "middle" }, said));
  }
  parts.push(...path(model.seconds, ([, rows, , , total]) => total / rows, "mean", x, y));
  parts.push(...path(model.seconds, ([, , , highest]) => highest, "highest", x, y));
  for (const [place, value] of lines.entries()) {
    if (value > 0) parts.push(svg("line", { class: place ? "tried" : "threshold", x1: left, x2: right, y1: y(value), y2: y(value) }));
  }
  for (const alarm of model.alarms) {
    if (alarm.at > now - span) parts.push(svg("circle", { class: "alarm", cx: x(alarm.at), cy: y(alarm.score), r: 5 }));
  }
  chart.setAttribute("viewBox", `0 0 ${width} ${height}`);
  chart.setAttribute("aria-label", `Scores of the last ten minutes; threshold ${number(model.decision.threshold)}, ${model.alarms.length} alarms listed`);
  chart.replaceChildren(...parts);
  $("trying").hidden = lines.length < 2;
}

function path(seconds, value, kind, x, y) {
  const pieces = [];
  let before = -Infinity;
  for (const second of seconds) {
    const move = second[0] - before > 5 ? "M" : "L"; // no line over a pause
    pieces.push(`${move}${x(second[0] + 0.5).toFixed(1)} ${y(value(second)).toFixed(1)}`);
    if (move === "M") pieces.push("h3"); // so that a second alone is seen
    before = second[0];
  }
  return pieces.length ? [svg("path", { class: kind, d: pieces.join("") })] : [];
}

function svg(name, attributes, said) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  if (said !== undefined) made.textContent = said;
  return made;
}

// Doing

async function move(version) {
  const model = models.get(chosen);
  const found = model.shadow?.version === version ? model.shadow.agreement : null;
  const because = found?.rows
    ? `On ${found.rows.toLocaleString("en")} rows ${share(found.same_verdicts)} of the verdicts were the same; it flags ` +
      `${share(found.shadow_alarm_ratio)}, version ${model.version} flags ${share(found.current_alarm_ratio)}.`
    : "It has judged none of the traffic in the shadow.";
  if (await confirmed(`Answer by version ${version}?`, because, `Promote version ${version}`)) await ask("promote", { version });
}

$("rollback").addEventListener("click", () =>
  attempt(async () => {
    const question = `Go back from version ${models.get(chosen).version}?`;
    if (await confirmed(question, "The version that answered before answers again, at once.", "Roll back")) await ask("rollback");
  }),
);

function wanted() {
  const form = new FormData($("threshold"));
  const value = Number(form.get("value"));
  return form.get("by") === "threshold" ? { threshold: value } : { false_alarm_rate: value / 100 };
}

$("threshold").addEventListener("submit", (event) => {
  event.preventDefault();
  attempt(async () => {
    const said = wanted();
    const found = await ask("thresholds?dry_run=1", said);
    const { latest, calibration } = found;
    tried = { model: chosen, threshold: found.decision.threshold, said };
    const windowed = models.get(chosen).window;
    $("tried").textContent =
      `A threshold of ${number(tried.threshold)} would have ${windowed ? "been below the scores of" : "flagged"} ${latest.alarms} of the latest ${latest.rows.toLocaleString("en")} rows ` +
      `(${share(latest.alarm_ratio)}), where this one ${windowed ? "is" : "flags"} ${latest.alarms_now}. Of ${calibration.rows.toLocaleString("en")} calibration ${windowed ? "stretches" : "rows"} it flags ${calibration.above}.`;
    $("write").disabled = false;
    show();
  });
});

$("threshold").addEventListener("input", () => {
  $("write").disabled = true;
});

$("write").addEventListener("click", () =>
  attempt(async () => {
    const model = models.get(chosen);
    const then = model.pinned ? "Version " + model.version + " is pinned: the new one waits in its shadow." : "It answers at once.";
    if (!(await confirmed(`Write a version with the threshold ${number(tried.threshold)}?`, then, "Write it"))) return;
    const found = await ask("thresholds", tried.said);
    $("tried").textContent = `Version ${found.written} is written; version ${found.version} answers.`;
    $("write").disabled = true;
    tried = null;
  }),
);

$("missed").addEventListener("submit", (event) => {
  event.preventDefault();
  attempt(async () => {
    const form = new FormData($("missed"));
    await ask("feedback", { request_id: form.get("request_id"), row: Number(form.get("row")), verdict: "missed" });
    $("missed").reset();
    $("missed").querySelector("button").textContent = "Noted down";
  });
});

$("model").addEventListener("change", () => {
  chosen = $("model").value;
  tried = null;
  $("write").disabled = true;
  show();
});
window.addEventListener("resize", show);

listen();
