from stable_baselines3 import PPO

import srl_bench as srl

rollouts = srl.record("srl_bench/MobileRobot-v0", frames=20_000, seed=0)
encoder = srl.pretrain("splits", rollouts, latent_dim=32, seed=0)
print(srl.score(encoder, rollouts).to_string())

encoder.save("encoders/splits")
encoder = srl.load_encoder("encoders/splits")

venv = srl.encode(srl.make_vec_env("srl_bench/MobileRobot-v0", n_envs=8), encoder)
model = PPO("MlpPolicy", venv).learn(200_000)
