import type { StatusSnapshot } from '../../protocol/status.ts';

interface AttentionRow {
  severity: 'info' | 'warn' | 'fail';
  sentence: string;
  fix: string | null;
}

/** What a person should look at, who waits to be let in first, each said once: as `status` and the page show it. */
export function attentionRows(snapshot: StatusSnapshot): AttentionRow[] {
  const waiting = snapshot.waiting.map(
    ({ node, address, words }): AttentionRow => ({
      severity: 'info',
      sentence: `${node}  at ${address} waits to be let in; it shows ${words}`,
      fix: `autogit-node approve ${node} --words ${words}`,
    }),
  );
  const reasons = snapshot.nodes
    .filter((node) => node.because !== null && ['draining', 'paused', 'suspect', 'gone'].includes(node.state))
    .filter((node) => !snapshot.attention.some(({ sentence }) => sentence.includes(node.because as string)))
    .map(
      ({ node, state, because }): AttentionRow => ({
        severity: state === 'suspect' || state === 'gone' ? 'warn' : 'info',
        sentence: `${node}  ${because}`,
        fix: null,
      }),
    );
  // Who waits stands above, with the address.
  const told = new Set(waiting.length > 0 ? ['machine-waiting'] : []);
  const rest = snapshot.attention
    .filter(({ code }) => !told.has(code))
    .map(({ severity, sentence, fix }): AttentionRow => ({ severity, sentence, fix }));
  const said = new Set<string>();
  return [...waiting, ...reasons, ...rest].filter(({ sentence, fix }) => {
    const all = `${sentence}\n${fix}`;
    const isNew = !said.has(all);
    said.add(all);
    return isNew;
  });
}
