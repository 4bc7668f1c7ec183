import { once } from 'node:events';
import { expect, it } from 'vitest';
import { replicaTools } from '../../node/hosting/replica/replica-tools.ts';

it('a sender that is ended while nobody reads on is over: whoever ends the copies waits for it', async () => {
  const { stream, done, end } = replicaTools.read('sh', ['-c', 'head -c 4000000 /dev/zero; sleep 60']);
  // More than every buffer on its way holds.
  await once(stream, 'readable');
  stream.read(1000);
  end();
  const over = await Promise.race([
    done.then(
      () => 'well',
      (error: Error) => error.message,
    ),
    new Promise((late) => setTimeout(late, 5000, 'not over')),
  ]);
  expect(over).toMatch(/^sh -c was ended by a signal/);
  expect(stream.destroyed).toBe(true);
});
