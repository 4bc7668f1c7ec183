import type { Ledger } from '../../protocol/ledger.ts';
import type { JobsState } from './jobs-state.ts';

/** Grants of some classes whose request may still be on the wire: the answer to one may bring a job, however late. */
export function askingFor(jobs: JobsState, ledger: Ledger, isMeant: (key: string) => boolean): string[] {
  const sent = Object.values(jobs.lead?.grants ?? {}).filter((grant) => grant.state === 'out' && isMeant(grant.class));
  const reserved = Object.entries(jobs.reports).flatMap(([node, { report }]) =>
    ledger.nodes[node] === undefined ? [] : report.reserved.filter((one) => isMeant(one.class)),
  );
  return [...sent, ...reserved].map(({ grant }) => grant);
}
