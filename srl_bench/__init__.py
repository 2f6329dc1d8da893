"""srl_bench: benchmark state representation learning for robot control."""
