import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, beforeEach } from 'vitest';
import { type SocketServer, serveSocket } from '../../node/local-api/unix-server.ts';
import { places } from '../../node/store/home.ts';
import setUpBundle from '../e2e/bundle.ts';
import { cleanEnv, type Ended, runCli } from './cli-child.ts';
import { SmallAgent } from './small-agent.ts';

interface SmallCommands {
  /** Another one in each test. */
  agent: SmallAgent;
  home: string;
  run(...args: string[]): Promise<Ended>;
  /** Its agent is gone, for the rest of a test. */
  close(): Promise<void>;
}

/** For a `describe`: the published commands before an agent in small, in a home of their own. `prepare`: what each agent begins with. */
export function smallCommands(name: string, prepare: (agent: SmallAgent) => void = () => {}): SmallCommands {
  const here: SmallCommands = {
    agent: new SmallAgent(),
    home: '',
    run: (...args) => runCli(['--home', here.home, ...args], cleanEnv(here.home)),
    close: async () => {
      await server?.close();
      server = undefined;
    },
  };
  let server: SocketServer | undefined;
  beforeAll(() => {
    setUpBundle();
    here.home = mkdtempSync(join(tmpdir(), `autogit-${name}-`));
  });
  beforeEach(async () => {
    await here.close();
    here.agent = new SmallAgent();
    prepare(here.agent);
    const log = { warn: () => {}, error: () => {} };
    server = await serveSocket({ path: places(here.home).socket, api: here.agent, log });
  });
  afterAll(async () => {
    await here.close();
    rmSync(here.home, { recursive: true, force: true });
  });
  return here;
}
