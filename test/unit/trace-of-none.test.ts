import { expect, it } from 'vitest';
import { trace } from '../../node/agent/logs.ts';

it('sends who asks for the trace of a job that has not run to why it has not', async () => {
  const never = (): never => {
    throw new Error('nobody is asked');
  };
  const sources = { run: () => null, self: 'kang', own: never, ask: never, ended: never };
  const lines = trace(4, false, sources as never, new AbortController().signal);
  await expect(lines[Symbol.asyncIterator]().next()).rejects.toMatchObject({
    message: 'job 4 has not run in this mesh',
    hint: 'autogit-node why 4',
  });
});
