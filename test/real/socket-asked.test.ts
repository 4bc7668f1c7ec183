import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { type AgentClient, createClient } from '../../node/local-api/socket-client.ts';
import { serveSocket } from '../../node/local-api/unix-server.ts';
import { places } from '../../node/store/home.ts';
import { SmallAgent } from './small-agent.ts';

type RestoreRequest = Parameters<AgentClient['gitlabRestore']>[0];

it('what was typed and does not fit is said as that, and not blamed on another version alone', async () => {
  const home = mkdtempSync(join(tmpdir(), 'autogit-asked-'));
  const log = { warn: () => {}, error: () => {} };
  const server = await serveSocket({ path: places(home).socket, api: new SmallAgent(), log });
  try {
    await expect(createClient(home).gitlabRestore({ id: 'no id' } as unknown as RestoreRequest)).rejects.toMatchObject({
      code: 'bad-message',
      message: expect.stringMatching(/^what was asked for is not of the agreed form: /),
      hint: expect.stringMatching(/^look at what was typed; /),
    });
  } finally {
    await server.close();
    rmSync(home, { recursive: true, force: true });
  }
});
