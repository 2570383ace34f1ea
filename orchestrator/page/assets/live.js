"use strict";
// Asks for a newer state every second, and says so when there is nobody to ask.
(() => {
  const ask = async () => {
    if (document.hidden) return;
    const answer = await fetch("state?last=" + page.last() + "&made=" + encodeURIComponent(page.made()), { cache: "no-store" });
    if (answer.status === 204) return page.say("");
    const said = await answer.json();
    if (said.problem) return page.say(said.problem);
    page.say("");
    page.show(said);
  };
  const again = () => ask().catch(() => page.say("The command that serves this page has ended; the page shows the last state that it sent.")).finally(() => setTimeout(again, 1000));
  again();
})();
