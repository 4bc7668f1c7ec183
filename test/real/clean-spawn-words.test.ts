import { expect, it } from 'vitest';
import { execCleanly } from '../../node/clean-spawn.ts';

it('a failure names the program and what it said, not the way by which it was started', async () => {
  await expect(execCleanly('sh', ['-c', 'echo no such group >&2; exit 4'])).rejects.toMatchObject({
    message: 'sh failed with exit code 4: no such group',
    stderr: 'no such group\n',
  });
  await expect(execCleanly('sh', ['-c', 'kill -9 $$'])).rejects.toMatchObject({ message: 'sh was ended by SIGKILL' });
  await expect(execCleanly('no-such-program', [])).rejects.toMatchObject({ code: 'ENOENT' });
});
