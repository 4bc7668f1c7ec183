import type { Executor, Workspace } from '../../node/ports.ts';

/**
 * The executor, but each place that it makes has some other ways. `until`: a place is made only then, whoever has given it
 * up meanwhile.
 */
export function placesWith(
  whole: () => Executor,
  others: (made: Workspace) => Partial<Workspace>,
  until?: () => Promise<void>,
): () => Executor {
  return () => {
    const executor = whole();
    const prepare = executor.prepare.bind(executor);
    executor.prepare = async (spec, signal) => {
      await until?.();
      const made = await prepare(spec, until ? new AbortController().signal : signal);
      return Object.assign(made, others(made));
    };
    return executor;
  };
}

/** How its place is removed, with what comes before and after. */
export function removal(made: Workspace, { before, after }: { before?: () => void; after?: () => void }) {
  const remove = made.remove.bind(made);
  return async (): Promise<void> => {
    before?.();
    await remove();
    after?.();
  };
}
