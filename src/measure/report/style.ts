import { HUE_VALUES } from './plot-style.ts';

/** The style sheet of a report: no font, picture or script from anywhere. Dark where the reader's system is; paper is always light. */
export function styleSheet(): string {
  const hues = (column: 1 | 2): string => HUE_VALUES.map((hue) => `--${hue[0]}:${hue[column]}`).join(';');
  const series = HUE_VALUES.map(([name]) => `.hue-${name}{--series:var(--${name})}`).join('\n');
  return `${ground(hues(1), hues(2))}${PAGE}${PLOTS}${series}\n${PRINT}`;
}

function ground(light: string, dark: string): string {
  return `
:root{color-scheme:light dark;--paper:#fff;--ink:#1b2129;--soft:#5a6470;--rule:#d9dee4;--fill:#f5f7f9;--bad:#a3261c;${light}}
@media screen and (prefers-color-scheme:dark){
:root{--paper:#14181d;--ink:#e6eaef;--soft:#a0aab6;--rule:#343c46;--fill:#1c2229;--bad:#ff9a8d;${dark}}
}`;
}

const PAGE = `
*{box-sizing:border-box}
body{margin:0;background:var(--paper);color:var(--ink);font:15px/1.55 system-ui,-apple-system,"Segoe UI",Roboto,"Liberation Sans",sans-serif}
main{max-width:980px;margin:0 auto;padding:40px 24px 72px}
h1{font-size:30px;line-height:1.2;margin:0 0 6px;letter-spacing:-.01em}
h2{font-size:21px;line-height:1.3;margin:52px 0 8px;padding-top:14px;border-top:1px solid var(--rule)}
h3{font-size:15px;margin:22px 0 2px}
p{margin:6px 0 12px;max-width:82ch}
p.note{max-width:96ch}
.lead,.note{color:var(--soft)}
.note{font-size:13.5px}
.tiles{display:grid;grid-template-columns:repeat(auto-fit,minmax(160px,1fr));gap:12px;margin:26px 0 8px;padding:0;list-style:none}
.tiles li{border:1px solid var(--rule);border-radius:8px;padding:14px 16px;background:var(--fill)}
.tiles b{display:block;font-size:27px;line-height:1.2;font-variant-numeric:tabular-nums}
.tiles span{display:block;color:var(--soft);font-size:13.5px;line-height:1.4;margin-top:4px}
dl{display:grid;grid-template-columns:max-content 1fr;gap:3px 18px;margin:12px 0}
dt{color:var(--soft)}
dd{margin:0;overflow-wrap:anywhere}
code{font:13px/1.5 ui-monospace,"Cascadia Mono","DejaVu Sans Mono",monospace}
ul{padding-left:20px;margin:8px 0}
li{margin:4px 0;overflow-wrap:anywhere}
nav a{margin-right:14px;white-space:nowrap}
a{color:var(--blue)}
.scroll{overflow-x:auto;margin:10px 0 20px}
table{border-collapse:collapse;font-size:13.5px;font-variant-numeric:tabular-nums;min-width:100%}
caption{text-align:left;font-weight:600;padding:6px 0}
th,td{padding:4px 10px;border-bottom:1px solid var(--rule);text-align:right;vertical-align:top;white-space:nowrap}
th{font-weight:600}
thead th{color:var(--soft);border-bottom-color:var(--soft);vertical-align:bottom}
th:first-child,td.text,th.text{text-align:left}
td.rounds{text-align:left;white-space:normal;min-width:230px;color:var(--soft)}
tbody th{font-weight:500;overflow-wrap:anywhere;white-space:normal;min-width:170px}
tr.isthmus th,tr.isthmus td{background:var(--fill)}
tr.isthmus th{font-weight:650}
tbody.group+tbody.group tr:first-child>*{border-top:2px solid var(--soft)}
small{display:block;font-size:12px;color:var(--soft)}
table.summary thead th{white-space:normal;min-width:96px}
.bad li{color:var(--bad)}
figure{margin:14px 0 22px;overflow-x:auto}
figcaption{font-weight:600;font-size:14px;margin-bottom:4px}
`;

const PLOTS = `
.plot{display:block;width:100%;min-width:620px;height:auto;font:12.5px system-ui,-apple-system,"Segoe UI",Roboto,"Liberation Sans",sans-serif;font-variant-numeric:tabular-nums}
.plot text{fill:var(--ink)}
.plot .tick{fill:var(--soft);font-size:11.5px}
.plot .ratio{font-weight:650}
.plot .grid{stroke:var(--rule)}
.plot .base{stroke:var(--soft)}
.plot .bar{fill:var(--series);fill-opacity:.55}
.plot .dot{fill:var(--series);stroke:var(--paper);stroke-width:.8}
.plot .round{fill:var(--series);fill-opacity:.5}
.plot .whisker{stroke:var(--ink);stroke-width:1.2;stroke-opacity:.75}
.plot .way{fill:none;stroke:var(--series);stroke-width:1.8;stroke-opacity:.75}
.plot .marker{fill:var(--series);stroke:var(--paper);stroke-width:1}
.plot .leader{stroke:var(--series);stroke-opacity:.45}
`;

const PRINT = `
@media print{
main{max-width:none;padding:0}
body{font-size:11pt}
h2{break-after:avoid}
figure,.tiles,tr{break-inside:avoid}
nav{display:none}
.scroll,figure{overflow:visible}
.plot{min-width:0}
table{font-size:8.5pt}
}
`;
