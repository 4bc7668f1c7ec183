import { type ChildProcess, spawn } from 'node:child_process';

/** Programs that burden machines of the LAN. Each is ended by its own handle. */

const running = new Set<ChildProcess>();

/** What begins a session of its own, Ctrl-C does not reach: it ends with this program. */
export function endWithUs(child: ChildProcess): void {
  if (running.size === 0)
    process.once('SIGINT', () => {
      endAll([...running]);
      process.exit(130);
    });
  running.add(child);
}

function alone(file: string, args: string[]): ChildProcess {
  const child = spawn(file, args, { stdio: 'ignore', detached: true });
  endWithUs(child);
  return child;
}

const inside = (namespace: string, code: string, args: string[]): ChildProcess =>
  alone('nsenter', [`--net=/var/run/netns/${namespace}`, process.execPath, '-e', code, ...args]);

/** In a session of its own: the kernel shares between sessions first, and it is a stranger to the agents. */
export const burner = (): ChildProcess => alone(process.execPath, ['-e', 'for(;;);']);

const sink = `require('node:net').createServer((s) => s.on('error', () => {}).resume()).listen(5001)`;
/** Takes whatever comes on port 5001, and throws it away. */
export const takeAll = (namespace: string): ChildProcess => inside(namespace, sink, []);

const pump = `
const bytes = Buffer.alloc(1 << 20);
for (let i = 0; i < Number(process.argv[2]); i++) {
  const socket = require('node:net').connect(5001, process.argv[1]);
  const more = () => { while (socket.write(bytes)); };
  socket.on('connect', more).on('drain', more).on('error', () => {});
}`;
/** Sends as much as the way there carries, over so many connections. */
export const sendAll = (namespace: string, to: string, connections: number): ChildProcess =>
  inside(namespace, pump, [to, String(connections)]);

const knock = `
const { connect } = require('node:net');
const { randomBytes } = require('node:crypto');
const [ports, hosts, atOnce] = process.argv.slice(1).map((text) => text.split(','));
const frame = (text) => Buffer.from([text.length + 1, ...Buffer.from(text + '\\n')]);
const hello = Buffer.concat([frame('/multistream/1.0.0'), frame('/noise')]);
let made = 0;
const one = () => {
  const way = made++;
  const socket = connect(Number(ports[way % ports.length]), hosts[(way >> 2) % hosts.length]);
  let isOver = false;
  const again = () => { if (!isOver) { isOver = true; clearTimeout(timer); setTimeout(one, 2); } };
  // Says nothing, rubbish, half a handshake, a handshake with a key that nobody has.
  const timer = setTimeout(() => socket.destroy(), way % 4 === 0 ? 3000 : 500);
  socket.on('connect', () => {
    if (way % 4 === 1) socket.write(randomBytes(4096));
    if (way % 4 === 2) socket.write(hello);
    if (way % 4 === 3) socket.write(Buffer.concat([hello, Buffer.from([0, 32]), randomBytes(32)]));
  }).on('error', () => {}).on('close', again).resume();
};
for (let i = 0; i < Number(atOnce[0]); i++) one();`;
/** A stranger that opens connections to these hosts without an end: garbage, half handshakes, and silence. */
export const stranger = (namespace: string, hosts: string[], ports: number[], atOnce: number): ChildProcess =>
  inside(namespace, knock, [ports.join(), hosts.join(), String(atOnce)]);

export function endAll(children: readonly ChildProcess[]): void {
  for (const child of children) child.kill('SIGKILL');
}
