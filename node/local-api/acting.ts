import { AsyncLocalStorage } from 'node:async_hooks';

const storage = new AsyncLocalStorage<string>();
let underWay = 0;

/**
 * Does what somebody asked for: whatever changes of the ledger come of it say `who`. Only while something is asked does it cost
 * anything: every promise of the agent would know of it otherwise.
 */
export async function actingAs<T>(who: string, act: () => Promise<T>): Promise<T> {
  underWay += 1;
  try {
    return await storage.run(who, act);
  } finally {
    underWay -= 1;
    if (underWay === 0) storage.disable();
  }
}

/** Who asked for what is done now; undefined: nobody, the agent does it by itself. */
export const whoActs = (): string | undefined => storage.getStore();
