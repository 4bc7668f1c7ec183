import type { Attention, StatusSnapshot } from '../../protocol/status.ts';
import { bySeverity } from '../../scheduler/phrases.ts';

/** Results of jobs that GitLab did not take, the last ones; until the agent is started again. */
export const givenUpLines = (sentences: readonly string[]): Attention[] =>
  sentences.slice(-4).map((sentence) => ({ code: 'result-given-up', severity: 'warn', sentence, fix: null }));

const slowMs = 1_000;
/** How many of the last count, by their median. */
export const answersCounted = 5;

/** A GitLab that answers, but late: everything that waits for its word does, and nothing here mends that. */
export function slowGitlabLines(tookMs: readonly number[]): Attention[] {
  const last = tookMs.slice(-answersCounted).sort((a, b) => a - b);
  const median = last[Math.floor(last.length / 2)] ?? 0;
  if (last.length < answersCounted || median <= slowMs) return [];
  const seconds = (median / 1000).toFixed(1);
  return [
    {
      code: 'gitlab-slow',
      severity: 'info',
      sentence: `GitLab answers slowly: it takes ${seconds} s to tell its queue, so jobs begin later and their traces lag`,
      fix: 'on the machine that runs GitLab, what it lacks: free -m; uptime',
    },
  ];
}

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
  return [...lines, ...more].sort(bySeverity);
}
