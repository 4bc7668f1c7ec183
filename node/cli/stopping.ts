import type { Stopping } from './context.ts';
import { exit } from './failure.ts';

/** ms for last words: an agent that hangs keeps nobody longer. */
const lastWordsMs = 5_000;

/** Listens for Ctrl-C and SIGTERM, which end the process with 130; a second one waits for nothing. */
export function listenForStop(): Stopping {
  const controller = new AbortController();
  let [isTold, isOwned] = [false, false];
  const end = (): void => process.exit(exit.interrupted);
  const stop = (signal: NodeJS.Signals): void => {
    if (isOwned) {
      if (process.listenerCount(signal) === 1) end();
      return;
    }
    if (!isTold || controller.signal.aborted) return end();
    controller.abort();
    setTimeout(end, lastWordsMs).unref();
  };
  const signals = ['SIGINT', 'SIGTERM'] as const;
  for (const signal of signals) process.on(signal, stop);
  return {
    told: () => {
      isTold = true;
      return controller.signal;
    },
    // It listens on: a signal that came while code was loaded would be lost with the last listener, and the agent never end.
    own: () => {
      isOwned = true;
    },
  };
}
