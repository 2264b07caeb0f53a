"""The report's style sheet: readable at 360 and at 1200 pixels; colours of Okabe and Ito, safe for the colour-blind."""

STYLE = """
:root{--ink:#1b1f24;--soft:#57606a;--line:#d8dee4;--paper:#fff;--wash:#f6f8fa;--pass:#0072b2;--fail:#c2410c;
--unsure:#8a6100;--none:#6e7781;--band:#d3ebdf;--band-edge:#8fc7ad}
*{box-sizing:border-box}
body{margin:0;background:var(--wash);color:var(--ink);
font:16px/1.5 system-ui,"Segoe UI",Roboto,"DejaVu Sans",sans-serif}
main{max-width:1160px;margin:0 auto;padding:28px 20px 60px}
h1{font-size:1.55rem;margin:0 0 2px;overflow-wrap:anywhere}h2{font-size:1.2rem;margin:44px 0 12px}
h3{font-size:1rem;margin:0}
p{margin:.4em 0;max-width:48em}.soft{color:var(--soft)}.small{font-size:.86rem}
.verdicts{display:grid;grid-template-columns:1fr 1fr;gap:16px;margin:20px 0}
.verdict{background:var(--paper);border:1px solid var(--line);border-left:10px solid var(--none);border-radius:8px;
padding:16px 20px}
.verdict.pass{border-left-color:var(--pass)}.verdict.fail{border-left-color:var(--fail)}
.verdict.unsure{border-left-color:#e69f00}
.verdict .what{color:var(--soft);font-size:.82rem;letter-spacing:.05em;text-transform:uppercase}
.verdict .word{font-size:2.1rem;font-weight:700;line-height:1.15;margin:2px 0 6px;overflow-wrap:anywhere}
.pass .word{color:var(--pass)}.fail .word{color:var(--fail)}.unsure .word{color:var(--unsure)}
.note{background:#fff6dd;border:1px solid #e6c65c;border-radius:8px;padding:10px 16px;max-width:none}
.badge{display:inline-block;white-space:nowrap;border-radius:999px;padding:1px 10px;font-size:.78rem;font-weight:600;
border:1px solid currentColor}
.badge.pass{color:var(--pass);background:#e6f2f9}.badge.fail{color:#fff;background:var(--fail);border-color:var(--fail)}
.badge.unsure{color:var(--unsure);background:#fdf3d7}.badge.none{color:var(--none);background:#f0f2f4}
.wide{overflow-x:auto;background:var(--paper);border:1px solid var(--line);border-radius:8px}
table{border-collapse:collapse;width:100%;font-size:.9rem}
td,th{padding:7px 12px;border-bottom:1px solid var(--line);text-align:left;vertical-align:top}
tr:last-child td{border-bottom:0}th{font-size:.8rem;color:var(--soft);font-weight:600}
td.number{white-space:nowrap;font-variant-numeric:tabular-nums}td.question{min-width:15em}
.cards{display:grid;grid-template-columns:1fr 1fr;gap:16px;align-items:start}
.card{background:var(--paper);border:1px solid var(--line);border-radius:8px;padding:14px 16px;min-width:0}
.card.full{grid-column:1/-1}.card header{display:flex;justify-content:space-between;gap:10px;align-items:flex-start}
.card .question{color:var(--soft);font-size:.88rem;margin:2px 0 10px}.card .detail{font-size:.84rem;margin:10px 0 0}
.row{display:grid;grid-template-columns:minmax(0,11.5em) minmax(5em,1fr) 12.5em;gap:10px;align-items:center;
font-size:.8rem;padding:2px 0}
.card.full .row{grid-template-columns:minmax(0,15em) minmax(5em,1fr) 14em}
.label{overflow-wrap:anywhere;line-height:1.2}.value{font-variant-numeric:tabular-nums;line-height:1.2}
.value.fail{color:var(--fail);font-weight:600}.value.unsure{color:var(--unsure)}
.track{position:relative;display:block;height:22px;background:#f3f4f6;border-radius:3px}
.track i{position:absolute;display:block;font-style:normal}
.band{top:0;bottom:0;background:var(--band);border:0 solid var(--band-edge);border-width:0 1px}
.reach{top:9.5px;height:3px;background:var(--none);border-radius:2px}.reach.pass{background:var(--pass)}
.reach.fail{background:var(--fail)}.reach.unsure{background:#b07d00}
.dot{top:5px;width:12px;height:12px;margin-left:-6px;border-radius:50%;background:var(--none)}
.dot.pass{background:var(--pass)}.dot.fail{background:var(--fail);border-radius:1px;transform:rotate(45deg)}
.dot.unsure{background:#fff;border:3px solid #b07d00}.dot.hollow{background:#fff;border:3px solid #57606a}
.axis .track{background:none;height:18px}.axis{min-height:18px}
.tick{transform:translateX(-50%);color:var(--soft);font-size:.72rem}
.hist{width:100%;height:170px;display:block;margin-top:12px;border-bottom:1px solid #8b949e}
.bins{display:flex;font-size:.72rem;color:var(--soft);margin:3px 0 6px}
.bins span{flex:1 1 0;min-width:0;text-align:center;overflow:visible;white-space:nowrap}
.hist .side0{fill:#3b434b}.hist .side1{fill:#2a93d5}.hist .side2{fill:#e0a63a}
.key{display:flex;flex-wrap:wrap;gap:4px 18px;font-size:.8rem;color:var(--soft);max-width:none}
.key b{display:inline-block;width:11px;height:11px;margin-right:6px;border-radius:2px}
.key b.side0{background:#3b434b}.key b.side1{background:#2a93d5}.key b.side2{background:#e0a63a}
.legend{display:flex;flex-wrap:wrap;gap:6px 22px;font-size:.84rem;color:var(--soft);margin:0 0 14px;max-width:none}
.legend .track{display:inline-block;width:84px;vertical-align:middle;margin-right:8px}
ul{margin:.3em 0;padding-left:1.2em;max-width:60em}li{margin:.2em 0}
details{background:var(--paper);border:1px solid var(--line);border-radius:8px;padding:10px 16px;margin:10px 0}
summary{cursor:pointer;font-weight:600}
@media(max-width:860px){.cards,.verdicts{grid-template-columns:1fr}}
@media(max-width:560px){main{padding:18px 12px 40px}.verdict .word{font-size:1.7rem}
.row,.card.full .row{grid-template-columns:1fr auto;gap:2px 10px;padding:3px 0}.row .track{grid-column:1/-1;grid-row:2}
.row .value{text-align:right}.axis{padding-top:0}.axis .label,.axis .value{display:none}
table.gates thead{display:none}table.gates tr{display:block;padding:10px 12px;border-bottom:1px solid var(--line)}
table.gates td{display:block;border:0;padding:1px 0;white-space:normal}
table.gates td[data-name]:not(:empty)::before{content:attr(data-name) ": ";color:var(--soft)}}
@media print{body{background:#fff}.card,.verdict{break-inside:avoid}}
"""
