import type { Log } from '../log.ts';
import type { Progress } from '../progress-lines.ts';

/** Events of agent.log that the person at the terminal wants to see, and the word before each. */
const told: Record<string, { what: string; state: 'ok' | 'warn' }> = {
  'leader-elected': { what: 'leader', state: 'ok' },
  'node-approved': { what: 'machine', state: 'ok' },
  'node-left': { what: 'machine', state: 'ok' },
  'run-started': { what: 'job', state: 'ok' },
  'run-adopted': { what: 'job', state: 'ok' },
  'run-finished': { what: 'job', state: 'ok' },
  'run-lost': { what: 'job', state: 'warn' },
};

/** The same log, whose events that matter to people also appear where the agent runs in a terminal, from `begin` on. */
export function withNews(
  log: Log,
  lines: Progress,
  heard?: (said: { event: string; because: string }) => void,
): { log: Log; begin: () => void } {
  let isTelling = false;
  const event: Log['event'] = (said) => {
    log.event(said);
    heard?.(said);
    const news = told[said.event];
    // A job that failed is no `ok`, whosever fault it was.
    const state = said.event === 'run-finished' && said.fields?.state !== 'success' ? 'warn' : news?.state;
    if (isTelling && news && state) lines[state](news.what, said.because);
  };
  return {
    log: { ...log, event },
    begin: () => {
      isTelling = true;
    },
  };
}
