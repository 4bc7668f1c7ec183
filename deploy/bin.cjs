#!/usr/bin/env node
// biome-ignore-all lint: an old Node must be able to parse it
// The bin: written in syntax that a Node of ten years ago can parse, so that it can say what is wrong. bundle.mjs fills in
// the versions.
var v = process.versions.node.split('.');
var least = '@LEAST@'.split('.');
if (+v[0] < +least[0] || (v[0] === least[0] && +v[1] < +least[1])) {
  console.error(
    'autogit-node needs Node.js ' +
      least.join('.') +
      ' or newer; this is ' +
      process.version +
      '. Install a newer one: https://nodejs.org',
  );
  process.exit(1);
}

// What runs beside each job, what GitLab's traffic goes through, and what is asked most, need nothing of the agent. A variable or
// a file may say how the version is to be shown: then the agent answers.
var words = process.argv.slice(2);
if (words[0] === '__watchdog') require('./watchdog.cjs').main(words);
else if (words[0] === '__gate') require('./gate.cjs').main(words);
else if (words[0] === '__forward') require('./forward.cjs').main(words);
else if (words.length === 1 && words[0] === 'version' && isUnsettled())
  console.log(process.stdout.isTTY ? 'autogit-node @VERSION@ (Node.js ' + process.version + ')' : '@VERSION@');
else runAgent();

function isUnsettled() {
  var path = require('path');
  var folder = process.env.XDG_CONFIG_HOME || path.join(require('os').homedir(), '.config');
  var hasVariable = Object.keys(process.env).some(function (name) {
    return name.indexOf('AUTOGIT_') === 0;
  });
  return !hasVariable && !require('fs').existsSync(path.join(folder, 'autogit-node', 'autogit.yml'));
}

function runAgent() {
  var crypto = require('crypto');
  var fs = require('fs');
  var os = require('os');
  var path = require('path');
  var v8 = require('v8');
  var vm = require('vm');
  var zlib = require('zlib');

  // Only what computes long is compiled to the best machine code: an agent's turns are short, and V8's optimizer alone takes 4 MiB of an agent.
  // Node 20's V8 alone does so after a few calls; later ones wait for thousands, and complain aloud about these names.
  if (v[0] === '20') {
    v8.setFlagsFromString('--interrupt-budget=10000000');
    v8.setFlagsFromString('--max-bytecode-size-for-early-opt=0');
  }

  // To compile three megabytes anew at each start costs as much as everything else together. V8's code cache saves that: it
  // is kept in the user's cache folder, one file for each build of ours, each Node and each place (V8 keeps the file's name with the
  // code: another copy of the same build would be named in every stack), four at most. Node's own variable
  // NODE_DISABLE_COMPILE_CACHE=1 switches it off. Whatever goes wrong here costs time only.
  var file = path.join(__dirname, 'agent.cjs');
  // The text of a function already as it is read: to put one around it as strings would leave three megabytes behind.
  var bytes = readAll(fs.openSync(file, 'r'), '(function (exports, require, module, __filename, __dirname) {', '\n})');
  var folder = path.join(process.env.XDG_CACHE_HOME || path.join(os.homedir(), '.cache'), 'autogit-node');
  var build = [bytes, file].map(function (one) {
    return zlib.crc32(one).toString(16);
  });
  var name = [process.version, process.arch].concat(build).join('-') + '.code';
  var isOff = process.env.NODE_DISABLE_COMPILE_CACHE === '1';

  // Code that runs as us must have been written by us, and where nobody else may write.
  function isOurs(stat) {
    return process.getuid && stat.uid === process.getuid() && (stat.mode & 18) === 0;
  }

  // A resizable buffer's memory is the system's, not malloc's, which keeps as much for itself as it has ever got back in one piece.
  function readAll(handle, before, after) {
    try {
      var most = before.length + fs.fstatSync(handle).size + after.length;
      var all = Buffer.from(new ArrayBuffer(most, { maxByteLength: most }));
      var end = all.write(before);
      for (var read = 1; read > 0; end += read) read = fs.readSync(handle, all, end, most - after.length - end);
      return all.subarray(0, end + all.write(after, end));
    } finally {
      fs.closeSync(handle);
    }
  }

  // Of eight bytes: V8 copies code that does not begin at one of its words.
  function checksum(data) {
    var sum = Buffer.alloc(8);
    sum.writeUInt32LE(zlib.crc32(data));
    return sum;
  }

  function readCache() {
    if (isOff) return undefined;
    try {
      if (!isOurs(fs.lstatSync(folder))) return undefined;
      var handle = fs.openSync(path.join(folder, name), fs.constants.O_RDONLY | fs.constants.O_NOFOLLOW);
      var isTaken = isOurs(fs.fstatSync(handle));
      var kept = readAll(handle, '', '');
      var data = kept.subarray(8);
      return isTaken && kept.subarray(0, 8).equals(checksum(data)) ? data : undefined;
    } catch (_error) {
      return undefined;
    }
  }

  function saveCache(script) {
    var draft = path.join(folder, name + '.' + crypto.randomBytes(4).toString('hex'));
    try {
      fs.mkdirSync(folder, { recursive: true, mode: 448 });
      if (!isOurs(fs.lstatSync(folder))) return;
      var data = script.createCachedData();
      fs.writeFileSync(draft, Buffer.concat([checksum(data), data]), { mode: 384, flag: 'wx' });
      fs.renameSync(draft, path.join(folder, name));
      dropOld();
    } catch (_error) {
      fs.rmSync(draft, { force: true });
    }
  }

  function dropOld() {
    var kept = fs.readdirSync(folder).map(function (one) {
      return { one: one, at: fs.statSync(path.join(folder, one)).mtimeMs };
    });
    kept.sort(function (a, b) {
      return b.at - a.at;
    });
    kept.slice(4).forEach(function (old) {
      fs.rmSync(path.join(folder, old.one), { force: true });
    });
  }

  var cached = readCache();
  var script = new vm.Script(bytes.toString('utf8'), { filename: file, cachedData: cached });
  var loaded = { exports: {} };
  script.runInThisContext()(loaded.exports, require, loaded, file, __dirname);
  // Saved when the program has run for a while, so that what a start needs is in it: an agent, not a short command.
  if (!isOff && (cached === undefined || script.cachedDataRejected)) setTimeout(saveCache, 2000, script).unref();
  loaded.exports.main(process.argv.slice(2));
}
