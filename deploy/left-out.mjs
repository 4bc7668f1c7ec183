// What the bundle has otherwise than the packages: each of these cost memory in every agent, or time at every start.
import { createRequire } from 'node:module';

const refusal = (sentence) => `() => { throw new Error('autogit-node is built without ${sentence}'); }`;
const empty = (sentence) => `module.exports = ${refusal(sentence)};`;

/** As esbuild's plugin. */
export const leftOut = {
  name: 'left-out',
  setup(esbuild) {
    const leave = (namespace, contents) =>
      esbuild.onLoad({ filter: /.*/, namespace }, ({ path }) => ({ contents: contents(path) }));

    // Of dockerode: its sessions with BuildKit bring gRPC and protobuf (6 MiB of memory, 150 ms of start), and we never build images; its
    // way to engines behind ssh:// brings ssh2 and its cryptography (a tenth of the bundle), and our executor refuses those.
    esbuild.onResolve({ filter: /^\.\/(session|buildkit|ssh)$/ }, ({ path, importer }) =>
      /(dockerode|docker-modem)[\\/]lib[\\/]/.test(importer) ? { path, namespace: 'docker' } : undefined,
    );
    leave('docker', (path) => empty(`${path.slice(2)} of dockerode`));

    // Of Noise: its cipher and hash in WebAssembly. node/network/noise-cipher.ts takes Node's.
    esbuild.onResolve({ filter: /^@chainsafe\/as-(sha256|chacha20poly1305)$/ }, ({ path, importer }) =>
      /@libp2p[\\/]noise[\\/]/.test(importer) ? { path, namespace: 'noise' } : undefined,
    );
    leave(
      'noise',
      () => `exports.digest = ${refusal('the WebAssembly of Noise')};
      exports.newInstance = () => null;
      exports.ChaCha20Poly1305 = class { seal = exports.digest; open = exports.digest };`,
    );

    // Of systeminformation: all but its file about memory, the one thing that it is asked for. Graphics, printers and wireless networks were a tenth
    // of the agent's text.
    const memory = createRequire(import.meta.url).resolve('systeminformation/lib/memory.js');
    esbuild.onResolve({ filter: /^systeminformation$/ }, () => ({ path: memory }));

    // zod's sentences in 50 languages: we say our own.
    esbuild.onResolve({ filter: /^\.\.\/locales\/index\.js$/ }, ({ path, importer }) =>
      /zod[\\/]v4[\\/]/.test(importer) ? { path, namespace: 'locales' } : undefined,
    );
    leave('locales', () => 'export {};');
  },
};
