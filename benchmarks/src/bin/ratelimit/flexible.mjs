// rate-limiter-flexible over ioredis, as its README has it: so many consumers at once, for as long as each line of the
// input says in ms. Answers each line with decisions a second.
import { createInterface } from 'node:readline';
import Redis from 'ioredis';
import { RateLimiterRedis } from 'rate-limiter-flexible';

const [url, tasks] = process.argv.slice(2);
const storeClient = new Redis(url, { enableOfflineQueue: false, commandTimeout: 500, lazyConnect: true });
await storeClient.connect();
const limiter = new RateLimiterRedis({ storeClient, keyPrefix: 'bench', points: 1e9, duration: 60 });

async function run(ms) {
  const begun = process.hrtime.bigint();
  let done = 0;
  const until = begun + BigInt(ms) * 1000000n;
  await Promise.all(Array.from({ length: Number(tasks) }, async (_, task) => {
    while (process.hrtime.bigint() < until) {
      await limiter.consume(`user-${task}`);
      done += 1;
    }
  }));
  return done * 1e9 / Number(process.hrtime.bigint() - begun);
}

console.log('ready');
for await (const line of createInterface({ input: process.stdin })) {
  console.log(await run(Number(line)));
}
process.exit();
