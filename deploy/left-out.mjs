// What the bundle has otherwise than the packages: each of these cost memory in every agent, or time at every start.
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

const empty = (sentence) => `module.exports = () => { throw new Error('autogit-node is built without ${sentence}'); };`;

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

    // zod's sentences in 50 languages: we say our own.
    esbuild.onResolve({ filter: /^\.\.\/locales\/index\.js$/ }, ({ path, importer }) =>
      /zod[\\/]v4[\\/]/.test(importer) ? { path, namespace: 'locales' } : undefined,
    );
    leave('locales', () => 'export {};');

    // noise would compile WebAssembly for small messages; and for a digest that it never asks for.
    esbuild.onResolve({ filter: /^@chainsafe\/as-chacha20poly1305$/ }, () => ({
      path: fileURLToPath(new URL('./chacha-by-node.cjs', import.meta.url)),
    }));
    esbuild.onResolve({ filter: /^@chainsafe\/as-sha256$/ }, ({ path }) => ({ path, namespace: 'digest' }));
    leave('digest', () => `exports.digest = ${empty('as-sha256').slice('module.exports = '.length)}`);

    // Addresses and protocols are sorted so that they can be compared, in whatever order: by code units. localeCompare
    // maps 2 MiB of the tables that sort the world's languages into the agent.
    esbuild.onLoad({ filter: /@libp2p[\\/]peer-(store|record)[\\/].*\.js$/ }, ({ path }) => ({
      contents: readFileSync(path, 'utf8').replace(
        /([\w.()]+)\.localeCompare\(([\w.]+(?:\(\))?)\)/g,
        (_, a, b) => `(${a} < ${b} ? -1 : ${a} > ${b} ? 1 : 0)`,
      ),
    }));
  },
};
