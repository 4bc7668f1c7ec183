import { readFileSync } from 'node:fs';
import { LocalName } from '../../node/hosting/address/local-name.ts';
import { whyNotName } from '../../node/hosting/address/name-trial.ts';

/** Answers to a name as one machine of a mesh does, or says whether it may. What it is in charge of stands in a file, which is read anew each time. */
const [self = '', name = '', file = ''] = process.argv.slice(2);
const say = (sentence: string): void => void process.stdout.write(`${sentence}\n`);
if (file === 'trial') {
  say(JSON.stringify(await whyNotName(name)));
  process.exit();
}
const own = new LocalName({
  ...{ self, log: { info: say, warn: say } as never, name: () => name },
  duty: () => {
    const word = readFileSync(file, 'utf8');
    return word === 'host' || word === 'leader' ? word : null;
  },
});
own.start();
setInterval(() => own.problem !== null && say(`problem: ${own.problem}`), 500);
