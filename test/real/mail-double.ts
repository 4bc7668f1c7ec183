import { once } from 'node:events';
import type { AddressInfo } from 'node:net';
import { createServer, type Server, type Socket } from 'node:net';

interface Letter {
  from: string;
  to: string[];
  text: string;
}

/** A mail server that takes nothing out of order: RFC 5321's dialogue, AUTH PLAIN where a user is wanted, one known receiver. */
export class MailDouble {
  readonly letters: Letter[] = [];
  readonly lines: string[] = [];
  port = 0;
  readonly #wanted: { user: string; pass: string } | null;
  readonly #receiver: string;
  #server: Server | null = null;
  readonly #sockets = new Set<Socket>();

  constructor(receiver: string, wanted: { user: string; pass: string } | null = null) {
    this.#receiver = receiver;
    this.#wanted = wanted;
  }

  async open(): Promise<this> {
    this.#server = createServer((socket) => this.#talk(socket));
    this.#server.listen(0, '127.0.0.1');
    await once(this.#server, 'listening');
    this.port = (this.#server.address() as AddressInfo).port;
    return this;
  }

  async close(): Promise<void> {
    for (const socket of this.#sockets) socket.destroy();
    const server = this.#server;
    if (server) await new Promise((resolve) => server.close(resolve));
  }

  #talk(socket: Socket): void {
    this.#sockets.add(socket);
    socket.on('close', () => this.#sockets.delete(socket));
    socket.on('error', () => {});
    let state: 'new' | 'greeted' | 'from' | 'to' | 'data' = 'new';
    let isKnown = this.#wanted === null;
    let letter: Letter = { from: '', to: [], text: '' };
    let rest = '';
    const say = (line: string): void => void socket.write(`${line}\r\n`);
    say('220 double ESMTP');
    socket.setEncoding('utf8');
    socket.on('data', (data: string) => {
      rest += data;
      for (;;) {
        if (state === 'data') {
          const end = rest.indexOf('\r\n.\r\n');
          if (end < 0) return;
          letter.text = rest.slice(0, end);
          rest = rest.slice(end + 5);
          this.letters.push(letter);
          letter = { from: '', to: [], text: '' };
          state = 'greeted';
          say('250 taken');
          continue;
        }
        const end = rest.indexOf('\r\n');
        if (end < 0) return;
        const line = rest.slice(0, end);
        rest = rest.slice(end + 2);
        this.lines.push(line);
        const [, from] = /^MAIL FROM:<([^>]+)>/i.exec(line) ?? [];
        const [, to] = /^RCPT TO:<([^>]+)>/i.exec(line) ?? [];
        if (/^EHLO \S+/i.test(line)) {
          state = 'greeted';
          socket.write(`250-double\r\n${this.#wanted ? '250-AUTH PLAIN\r\n' : ''}250 8BITMIME\r\n`);
        } else if (/^AUTH PLAIN \S+$/i.test(line) && state === 'greeted' && this.#wanted) {
          const [, user, pass] = Buffer.from(line.slice(11), 'base64').toString().split('\0');
          isKnown = user === this.#wanted.user && pass === this.#wanted.pass;
          say(isKnown ? '235 known' : '535 5.7.8 not known');
        } else if (from !== undefined && state === 'greeted') {
          if (isKnown) {
            state = 'from';
            letter.from = from;
          }
          say(isKnown ? '250 ok' : '530 5.7.0 authenticate first');
        } else if (to !== undefined && (state === 'from' || state === 'to')) {
          if (to === this.#receiver) {
            state = 'to';
            letter.to.push(to);
          }
          say(to === this.#receiver ? '250 ok' : '550 5.1.1 no such user');
        } else if (/^DATA$/i.test(line) && state === 'to') {
          state = 'data';
          say('354 go on');
        } else if (/^QUIT$/i.test(line)) socket.end('221 bye\r\n');
        else say('503 5.5.1 not now');
      }
    });
  }
}
