import { setTimeout as sleep } from 'node:timers/promises';
import type { Clock } from '../clock.ts';
import type { Store } from '../ports.ts';

/** ms for which a run's record is tried again when the store rejects it. */
const patienceMs = 5_000;

interface RecordWrites {
  store: Pick<Store, 'runs' | 'putRun' | 'deleteRun'>;
  clock: Pick<Clock, 'bootMs'>;
  isStopping(): boolean;
  /** The store rejected one: it is looked at, and this node gets no jobs until it works again. */
  onRejected(): void;
}

/** Records of runs, on a disk that may be full for a moment: they are written a moment later, and the run goes on. */
export function patientRecords({ store, clock, isStopping, onRejected }: RecordWrites): RecordWrites['store'] {
  const write = async (once: () => Promise<void>): Promise<void> => {
    for (const until = clock.bootMs() + patienceMs; ; ) {
      try {
        return await once();
      } catch (error) {
        onRejected();
        if (isStopping() || clock.bootMs() > until) throw error;
        await sleep(250);
      }
    }
  };
  return {
    runs: () => store.runs(),
    putRun: (run) => write(() => store.putRun(run)),
    deleteRun: (run) => write(() => store.deleteRun(run)),
  };
}
