"""How a report looks: one column in a panel of 600 px, two on a full page, quiet in both."""

STYLE = """
:root { color-scheme: light; }
* { box-sizing: border-box; }
body { margin: 0; background: #fff; color: #202124;
  font: 14px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, Arial, sans-serif; }
main { max-width: 1040px; margin: 0 auto; padding: 20px 24px 40px; }
h1 { font-size: 24px; line-height: 1.25; margin: 0 0 4px; overflow-wrap: anywhere; }
h2 { font-size: 15px; margin: 28px 0 8px; padding-bottom: 4px; border-bottom: 1px solid #e6e6e6; }
p { margin: 4px 0; color: #5f6368; overflow-wrap: anywhere; }
.state { display: inline-block; padding: 0 9px; margin-right: 6px; border-radius: 10px;
  font-size: 12px; line-height: 20px; background: #eceff1; color: #3c4043; }
.state.succeeded { background: #e3f3e8; color: #12683a; }
.state.failed, .state.broken { background: #fbe4e1; color: #9d2417; }
.error { padding: 8px 12px; background: #fbe4e1; color: #7a1c12; border-radius: 6px; }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(94px, 1fr)); gap: 10px;
  margin-top: 18px; }
.tiles div { padding: 10px 12px; background: #f6f7f8; border-radius: 8px; }
.tiles b { display: block; font-size: 22px; line-height: 1.2; font-variant-numeric: tabular-nums; }
.tiles span { font-size: 12px; color: #5f6368; }
figure { margin: 8px 0 0; }
img { display: block; max-width: 100%; height: auto; }
table { border-collapse: collapse; width: 100%; font-size: 13px; }
th, td { padding: 4px 12px 4px 0; border-bottom: 1px solid #eee; text-align: left;
  vertical-align: top; overflow-wrap: anywhere; }
th { font-weight: 600; }
.pairs th { width: 36%; min-width: 96px; }
td { font-variant-numeric: tabular-nums; }
.numbers th:not(:first-child), .numbers td { text-align: right; white-space: nowrap;
  padding: 4px 0 4px 12px; }
.numbers tr:first-child th { color: #5f6368; font-weight: 400; white-space: nowrap; }
.wide { overflow-x: auto; }
.uri, pre { font: 12px/1.5 ui-monospace, SFMono-Regular, Menlo, Consolas, monospace; }
pre { margin: 4px 0; padding: 10px 12px; background: #f6f7f8; border-radius: 6px;
  white-space: pre-wrap; overflow-wrap: anywhere; }
@media (min-width: 860px) {
  .two { display: grid; grid-template-columns: minmax(0, 1fr) minmax(0, 1fr); column-gap: 40px; }
}
"""
