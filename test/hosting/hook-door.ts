import { chmodSync, mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { createServer, type Server, type Socket } from 'node:net';
import { dirname, join } from 'node:path';
import type { PushAnswer } from '../../node/hosting/replica/round-host.ts';

/** Nobody needs a longer line to ask. */
const lineLimit = 100;

export interface DoorAnswers {
  ask(gone: AbortSignal): Promise<PushAnswer>;
  settled(): Promise<void>;
  /** Why no copy is made now, for the pusher's terminal. */
  aloneWords(): string;
}

/** The socket by which the hook asks for a round, in a folder of its own: within the data it would be in every clone of them. */
export class HookDoor {
  readonly #server: Server;
  readonly #open = new Set<Socket>();

  private constructor(answers: DoorAnswers) {
    this.#server = createServer((socket) => {
      this.#open.add(socket);
      const gone = new AbortController();
      let text = '';
      socket.on('error', () => {});
      socket.on('close', () => {
        this.#open.delete(socket);
        gone.abort();
      });
      socket.on('data', (data) => {
        text += data;
        if (text.length > lineLimit) return socket.destroy();
        if (!text.includes('\n')) return;
        const line = text.split('\n')[0];
        text = '';
        answer(line, answers, gone.signal).then(
          (reply) => socket.end(reply),
          () => socket.destroy(),
        );
      });
    });
  }

  static async open(path: string, answers: DoorAnswers): Promise<HookDoor> {
    mkdirSync(dirname(path), { recursive: true, mode: 0o755 });
    // Of an agent that was killed; whoever answers there now is us, the image's lock says so.
    rmSync(path, { force: true });
    const door = new HookDoor(answers);
    await new Promise<void>((resolve, reject) => {
      door.#server.once('error', reject);
      door.#server.listen(path, resolve);
    });
    // Whoever may push asks as the repositories' user; it can ask for a round and hears nothing but its end.
    chmodSync(path, 0o666);
    return door;
  }

  close(): Promise<void> {
    for (const socket of this.#open) socket.destroy();
    return new Promise((resolve) => this.#server.close(() => resolve()));
  }
}

async function answer(line: string | undefined, answers: DoorAnswers, gone: AbortSignal): Promise<string> {
  if (line === 'settled') {
    await answers.settled();
    return 'ok\n';
  }
  if (line !== 'round') throw new Error('asked for something else');
  const { isAlone } = await answers.ask(gone);
  return isAlone ? `alone ${answers.aloneWords()}\n` : 'ok\n';
}

/**
 * Perl, which every image with git has, and no module of it that is not in its base package. It returns on an answer only:
 * an agent that is killed or restarted meanwhile is asked again, and the gate alone ends a push that waits too long.
 */
const asker = (socket: string, question: string, then: string): string => `#!/usr/bin/perl
# Made by autogit-node: a push has ended when a copy of it is on another machine. Put back by: autogit-node doctor
use strict; use Socket;
$SIG{PIPE} = 'IGNORE';
${then === '' ? '1 while <STDIN>;\n' : ''}for (;;) {
  my $s;
  if (socket($s, PF_UNIX, SOCK_STREAM, 0) && connect($s, pack_sockaddr_un('${socket}'))) {
    syswrite($s, "${question}\\n");
    my $line = <$s>;
    if (defined $line && $line =~ /^(?:ok|alone ([^\\n]{0,300}))\\n\\z/) {
      print STDERR "$1\\n" if defined $1;
      ${then === '' ? 'exit 0;' : then}
    }
  }
  select(undef, undef, undef, 0.2);
}
`;

/** The server hook. */
export function installHook(repository: string, socket: string): void {
  const path = join(repository, 'hooks', 'post-receive');
  writeFileSync(path, asker(socket, 'round', ''), { mode: 0o755 });
}

/** What the gate does, for a push that does not come through one: refs are told only when no push waits for its round. */
export function writeHeldReceivePack(path: string, socket: string): void {
  writeFileSync(path, asker(socket, 'settled', `exec 'git-receive-pack', @ARGV;`), { mode: 0o755 });
}
