import type { StatusSnapshot } from '../../protocol/status.ts';

const worst = { fail: 0, warn: 1, info: 2 } as const;
type Attention = StatusSnapshot['attention'][number];

/** Results of jobs that GitLab did not take, the last ones; until the agent is started again. */
export const givenUpLines = (sentences: readonly string[]): Attention[] =>
  sentences.slice(-4).map((sentence) => ({ code: 'result-given-up', severity: 'warn', sentence, fix: null }));

/**
 * What this machine alone knows, added to what the mesh knows. Without any link to its LAN that comes first, and nothing
 * is advised that only makes sense when the others are switched off. (With a leader all is well: there is a VPN.)
 */
export function withOwnAttention(
  { attention, nodes, leader }: StatusSnapshot,
  /** Sentences of `discoveryProblems`: `what is wrong: what to do`. */
  problems: readonly string[],
  more: readonly Attention[],
): Attention[] {
  const cut =
    nodes.length > 1 && leader === null ? problems.find((one) => one.startsWith('no LAN interface')) : undefined;
  const lines =
    cut === undefined
      ? [...attention]
      : attention.map((line) => (line.code === 'no-quorum' ? { ...line, fix: null } : line));
  if (cut !== undefined)
    lines.unshift({
      code: 'no-link',
      severity: 'fail',
      sentence: `${cut.slice(0, cut.indexOf(': '))}: the others may go on without this machine`,
      fix: 'plug in the cable, or join the Wi-Fi; then look: ip -br addr',
    });
  return [...lines, ...more].sort((a, b) => worst[a.severity] - worst[b.severity]);
}
