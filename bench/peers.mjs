// BullMQ's own exportPrometheusMetrics of many queues, served as its documentation shows.
import { createServer } from "node:http";
import IORedis from "../lab/node/node_modules/ioredis/built/index.js";
import bullmq from "../lab/node/node_modules/bullmq6/dist/cjs/index.js";

const [redisPort, port, names] = [process.argv[2], process.argv[3], JSON.parse(process.argv[4])];
const connection = new IORedis({ host: "127.0.0.1", port: Number(redisPort), maxRetriesPerRequest: null });
const queues = names.map((name) => new bullmq.Queue(name, { connection }));

createServer(async (_, response) => {
  const texts = await Promise.all(queues.map((queue) => queue.exportPrometheusMetrics()));
  response.writeHead(200, { "Content-Type": "text/plain" });
  response.end(texts.join("\n"));
}).listen(Number(port), "127.0.0.1");
